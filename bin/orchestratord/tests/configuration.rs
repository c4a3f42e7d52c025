//! Settings from the configuration file and from flags.

use std::{fs, process::Command};

use daemon_process::{DaemonProcess, check, refused, settings};

const DAEMON: &str = env!("CARGO_BIN_EXE_orchestratord");

/// Whether `report` has a finding about `subject` that is `found`.
fn has(report: &serde_json::Value, subject: &str, found: &str) -> bool {
    let findings = report["findings"].as_array();
    findings
        .into_iter()
        .flatten()
        .any(|finding| finding["subject"] == subject && finding["found"] == found)
}

// spec: CONF-44, CONF-46
#[test]
fn each_setting_has_a_key_and_a_flag() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("all.toml");
    let shown = file.display();
    let (mut text, mut flags) = (String::new(), Vec::new());
    let (mut by_file, mut by_flag) = (Vec::new(), Vec::new());
    for row in settings(DAEMON) {
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
    let report = check(DAEMON, directory.path(), &[format!("--config={shown}")]);
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
    let report = check(DAEMON, directory.path(), &flags);
    for (variable, found) in by_flag {
        assert!(
            has(&report, &variable, &found),
            "{variable}: {found}\n{report}"
        );
    }
}

// spec: CONF-41
#[test]
fn a_flag_and_a_variable_count_before_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("some.toml");
    fs::write(&file, "addr = \"127.0.0.2:0\"\nqueue_limit = 10\n").unwrap();
    let start = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = daemon_process::command(DAEMON, directory.path(), variables);
        command.arg("--config").arg(&file).args(arguments);
        let daemon = DaemonProcess::start(command);
        let ip = daemon.addr().ip().to_string();
        daemon.kill();
        ip
    };
    let variable = [("ORCHESTRATORD_ADDR", "127.0.0.3:0")];
    assert_eq!(start(&[], &[]), "127.0.0.2");
    assert_eq!(start(&[("ORCHESTRATORD_ADDR", " ")], &[]), "127.0.0.2");
    assert_eq!(start(&variable, &[]), "127.0.0.3");
    assert_eq!(start(&variable, &["--addr", "127.0.0.4:0"]), "127.0.0.4");
}

// spec: CONF-41, CONF-42
#[test]
fn all_problems_are_reported_with_their_places() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.toml");
    let shown = file.display();
    fs::write(
        &file,
        "queue_limit = \"many\"\n\nqueue_limitz = 5\nthreads = [1]\n",
    )
    .unwrap();
    let run = |arguments: &[&str]| {
        let variables = [("ORCHESTRATORD_MAX_BODY_MIB", "0")];
        let mut command: Command = daemon_process::command(DAEMON, directory.path(), &variables);
        command.arg("--config").arg(&file).args(arguments);
        refused(command)
    };
    let (code, text) = run(&["--drain-timeout-secs", "soon", "--thread=1"]);
    assert_eq!(code, Some(64), "{text}");
    for part in [
        format!("{shown}:1: queue_limit: must be a whole number"),
        format!("{shown}:3: \"queue_limitz\": is no setting; did you mean queue_limit?"),
        format!("{shown}:4: threads: must be a number, not an array"),
        "ORCHESTRATORD_MAX_BODY_MIB: must be".to_owned(),
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

// spec: CONF-7
#[test]
fn the_example_of_the_reference_is_right() {
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.docs/CONFIGURATION.md");
    let reference = fs::read_to_string(reference).unwrap();
    let (_, example) = reference.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("example.toml");
    fs::write(&file, example).unwrap();
    let arguments = ["--config".to_owned(), file.display().to_string()];
    let report = check(DAEMON, directory.path(), &arguments);
    let found = format!("set by {}:5: placement", file.display());
    assert!(has(&report, "ORCHESTRATORD_PLACEMENT", &found), "{report}");
    assert!(!report.to_string().contains("--help"), "{report}");
    assert!(!report.to_string().contains("replace-this"), "{report}");
}
