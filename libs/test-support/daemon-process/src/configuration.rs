//! What every daemon does with its configuration file and its flags, as checks for their tests.

use std::fs;

use serde_json::Value;

use crate::{DaemonProcess, check, command, refused, settings};

/// A daemon, and what the checks set.
#[derive(Debug, Clone, Copy)]
pub struct Configured<'a> {
    /// Its path.
    pub program: &'a str,
    /// What its own variables begin with.
    pub prefix: &'a str,
    /// The key of a setting that is a whole number.
    pub number: &'a str,
}

impl Configured<'_> {
    /// Each setting has a key and a flag, a secret no flag.
    ///
    /// # Panics
    /// When it is not so.
    pub fn has_a_key_and_a_flag_for_each_setting(self) {
        let Self { program, .. } = self;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("all.toml");
        let shown = file.display();
        let (mut text, mut flags) = (String::new(), Vec::new());
        let (mut by_file, mut by_flag) = (Vec::new(), Vec::new());
        for row in settings(program) {
            let [variable, _, _, _, key, flag] = &row[..] else {
                panic!("{row:?}");
            };
            if key.is_empty() {
                assert_eq!(variable, "OTEL_EXPORTER_OTLP_ENDPOINT");
                continue;
            }
            text.push_str(&format!("{key} = \"1\"\n"));
            by_file.push((
                variable.clone(),
                format!("set by {shown}:{}: {key}", by_file.len() + 1),
            ));
            if flag.is_empty() {
                assert_eq!(variable, "LLORCH_API_TOKEN");
                continue;
            }
            flags.push(format!("{flag}=1"));
            by_flag.push((variable.clone(), format!("set by {flag}")));
        }
        fs::write(&file, text).unwrap();
        let report = check(program, directory.path(), &[format!("--config={shown}")]);
        assert!(
            has(&report, "configuration file", &shown.to_string()),
            "{report}"
        );
        for (variable, found) in by_file {
            assert!(
                has(&report, &variable, &found),
                "{variable}: {found}\n{report}"
            );
        }
        let report = check(program, directory.path(), &flags);
        for (variable, found) in by_flag {
            assert!(
                has(&report, &variable, &found),
                "{variable}: {found}\n{report}"
            );
        }
    }

    /// A flag counts before a variable, and that before the file.
    ///
    /// # Panics
    /// When it is not so.
    pub fn prefers_flags_and_variables(self) {
        let Self {
            program,
            prefix,
            number,
        } = self;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("some.toml");
        fs::write(&file, format!("addr = \"127.0.0.2:0\"\n{number} = 10\n")).unwrap();
        let start = |variables: &[(&str, &str)], arguments: &[&str]| {
            let mut started = command(program, directory.path(), variables);
            started.arg("--config").arg(&file).args(arguments);
            let daemon = DaemonProcess::start(started);
            let ip = daemon.addr().ip().to_string();
            daemon.kill();
            ip
        };
        let name = format!("{prefix}ADDR");
        let variable = [(name.as_str(), "127.0.0.3:0")];
        assert_eq!(start(&[], &[]), "127.0.0.2");
        assert_eq!(start(&[(name.as_str(), " ")], &[]), "127.0.0.2");
        assert_eq!(start(&variable, &[]), "127.0.0.3");
        assert_eq!(start(&variable, &["--addr", "127.0.0.4:0"]), "127.0.0.4");
    }

    /// All problems are reported at once, each with its place.
    ///
    /// # Panics
    /// When it is not so.
    pub fn reports_all_problems_with_their_places(self) {
        let Self {
            program,
            prefix,
            number,
        } = self;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bad.toml");
        let shown = file.display();
        fs::write(
            &file,
            format!("{number} = \"many\"\n\n{number}z = 5\nthreads = [1]\n"),
        )
        .unwrap();
        let largest_body = format!("{prefix}MAX_BODY_MIB");
        let run = |arguments: &[&str]| {
            let variables = [(largest_body.as_str(), "0")];
            let mut command = command(program, directory.path(), &variables);
            command.arg("--config").arg(&file).args(arguments);
            refused(command)
        };
        let (code, text) = run(&["--drain-timeout-secs", "soon", "--thread=1"]);
        assert_eq!(code, Some(64), "{text}");
        for part in [
            format!("{shown}:1: {number}: must be a whole number"),
            format!("{shown}:3: \"{number}z\": is no setting; did you mean {number}?"),
            format!("{shown}:4: threads: must be a number, not an array"),
            format!("{largest_body}: must be"),
            "--drain-timeout-secs: must be a whole number".to_owned(),
            "--thread: is an unknown argument; did you mean --threads?".to_owned(),
        ] {
            assert!(text.contains(&part), "{part}\n{text}");
        }
        fs::remove_file(&file).unwrap();
        let (code, text) = run(&[]);
        assert_eq!(code, Some(64), "{text}");
        assert!(
            text.contains(&format!("{shown}: cannot be read: No such file")),
            "{text}"
        );
    }
}

/// Whether `report` has a finding about `subject` that is `found`.
#[must_use]
pub fn has(report: &Value, subject: &str, found: &str) -> bool {
    let findings = report["findings"].as_array();
    findings
        .into_iter()
        .flatten()
        .any(|finding| finding["subject"] == subject && finding["found"] == found)
}
