//! What every daemon can look at before it starts. Nothing is made or changed.

use std::{
    fs::Metadata,
    io,
    net::{SocketAddr, TcpListener},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use rustix::fs::Access;
use service_runtime::env::Problems;

use crate::{Program, Report, Setting, Settings};

/// The bit of a directory's mode that lets everybody remove and replace its files, and the one that
/// forbids it.
const WRITABLE_BY_ALL: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// What a daemon does in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It reads what others put there; the directory may be made later.
    Read,
    /// It makes the directory and files in it.
    Write,
}

/// Bad settings, one finding for each.
pub(crate) fn bad_settings(report: &mut Report, program: &Program, problems: &Problems) {
    for (name, text) in problems.iter() {
        let hint = format!(
            "set {name} as it says, or unset it; {} --help tells of it",
            program.name
        );
        report.error(name, text, hint);
    }
}

/// Variables with the daemon's prefix that it does not know: mostly typing errors, which nobody
/// would notice.
pub(crate) fn unknown_settings(
    report: &mut Report,
    program: &Program,
    names: impl Iterator<Item = String>,
) {
    let is_unknown = |name: &String| {
        name.starts_with(program.prefix)
            && program.settings.iter().all(|setting| setting.name != name)
    };
    let mut unknown: Vec<String> = names.filter(is_unknown).collect();
    unknown.sort();
    for name in unknown {
        let hint = format!("unset it, or write it as {} --help does", program.name);
        report.warning(name, "there is no such setting; it has no effect", hint);
    }
}

/// A setting that is for other builds.
pub(crate) fn missing_feature(report: &mut Report) {
    for variable in [Setting::SPANS.name, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] {
        let is_set = std::env::var_os(variable).is_some_and(|value| !value.is_empty());
        if is_set && !cfg!(feature = "otlp") {
            let hint = "unset it, or build with `--features otlp`";
            report.warning(
                variable,
                "this build exports no spans; it has no effect",
                hint,
            );
        }
    }
}

/// The settings that all daemons have.
pub(crate) fn common(report: &mut Report, program: &Program, settings: &Settings) {
    let profile = if settings.is_cloud { "CLOUD" } else { "HOME" };
    report.ok("settings", format!("all are right; profile {profile}"));
    address(report, program, "ADDR", settings.addr);
    if let Some(addr) = settings.metrics_addr {
        address(report, program, "METRICS_ADDR", addr);
    }
    let beyond_loopback = !settings.addr.ip().is_loopback();
    if settings.token.is_some() {
        report.ok(Settings::TOKEN, "set");
    } else if beyond_loopback {
        let found = format!(
            "none, and it listens on {}: whoever is not on this machine gets 401",
            settings.addr
        );
        report.warning(
            Settings::TOKEN,
            found,
            "set the same token, of 8 to 1024 printable characters, for all daemons and clients",
        );
    } else {
        report.ok(Settings::TOKEN, "none: loopback peers only");
    }
}

fn address(report: &mut Report, program: &Program, name: &str, addr: SocketAddr) {
    let variable = Settings::variable(program, name);
    match TcpListener::bind(addr) {
        Ok(_) => report.ok(variable, format!("{addr} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => report.warning(
            &variable,
            format!("somebody listens on {addr}"),
            format!(
                "nothing, if that is {} itself; otherwise end it, or set {variable} to another \
                 port",
                program.name
            ),
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => report.error(
            &variable,
            format!("this user may not listen on {addr}"),
            format!("set {variable} to a port of 1024 or more"),
        ),
        Err(error) => report.error(
            &variable,
            format!("cannot listen on {addr}: {error}"),
            format!(
                "set {variable} to an address of this machine, or to 0.0.0.0 and the port for all \
                 of them"
            ),
        ),
    }
}

/// A directory that the common setting `name` (without the daemon's prefix) gives.
pub fn directory(report: &mut Report, program: &Program, name: &str, path: &Path, what_for: Use) {
    let variable = Settings::variable(program, name);
    let shown = path.display();
    match path.metadata() {
        Ok(found) if !found.is_dir() => report.error(
            &variable,
            format!("{shown} is not a directory"),
            format!("remove it, or set {variable} to a directory"),
        ),
        Ok(found) => existing(report, &variable, path, &found, what_for),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            missing(report, &variable, path, what_for)
        }
        Err(error) => report.error(
            &variable,
            format!("cannot look at {shown}: {error}"),
            format!("let this user into the directories above it, or set {variable} to another"),
        ),
    }
}

fn existing(report: &mut Report, variable: &str, path: &Path, found: &Metadata, what_for: Use) {
    let shown = path.display();
    let (needed, word) = match what_for {
        Use::Read => (Access::READ_OK | Access::EXEC_OK, "read"),
        Use::Write => (
            Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
            "written",
        ),
    };
    let mode = found.mode();
    if rustix::fs::access(path, needed).is_err() {
        report.error(
            variable,
            format!(
                "{shown} cannot be {word} by this user; it belongs to user {} with mode {:o}",
                found.uid(),
                mode & 0o7777
            ),
            format!("chown or chmod it, run as its owner, or set {variable} to another"),
        );
    } else if mode & WRITABLE_BY_ALL != 0 && mode & STICKY == 0 {
        report.warning(
            variable,
            format!("every user of this machine can replace files in {shown}"),
            format!("chmod o-w {shown}"),
        );
    } else {
        report.ok(variable, format!("{shown} can be {word}"));
    }
}

/// It will be made, where its nearest parent that exists allows it.
fn missing(report: &mut Report, variable: &str, path: &Path, what_for: Use) {
    let shown = path.display();
    let here = Path::new(".");
    let above = path.ancestors().skip(1).map(|parent| {
        if parent.as_os_str().is_empty() {
            here
        } else {
            parent
        }
    });
    let parent = above.clone().find(|parent| parent.exists()).unwrap_or(here);
    let allowed =
        parent.is_dir() && rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    match what_for {
        Use::Read => report.ok(
            variable,
            format!("{shown} does not exist yet; no engine is announced"),
        ),
        Use::Write if allowed => report.ok(
            variable,
            format!("{shown} does not exist yet; it will be made"),
        ),
        Use::Write => report.error(
            variable,
            format!(
                "{shown} does not exist and cannot be made in {}",
                parent.display()
            ),
            format!("make it and give it to this user, or set {variable} to another"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::Verdict;

    const PROGRAM: Program = Program {
        name: "demo",
        version: "0.0.0",
        title: "",
        about: "",
        settings: &[],
        ending: "",
        prefix: "DEMO_",
        openapi: || "{}".to_owned(),
        limits: &[],
    };

    fn looked_at(path: &Path, what_for: Use) -> (Verdict, String) {
        let mut report = Report::default();
        directory(&mut report, &PROGRAM, "STATE_DIR", path, what_for);
        let finding = &report.findings()[0];
        assert_eq!(finding.subject, "DEMO_STATE_DIR");
        assert_eq!(finding.hint.is_none(), finding.verdict == Verdict::Ok);
        (finding.verdict, finding.found.clone())
    }

    // spec: CHECK-3
    #[test]
    fn directories_are_looked_at_and_not_made() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("open")).unwrap();
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o777)).unwrap();
        for (path, what_for, verdict, found) in [
            (
                root.path().to_owned(),
                Use::Write,
                Verdict::Ok,
                "can be written",
            ),
            (at("a/b"), Use::Write, Verdict::Ok, "will be made"),
            (at("a/b"), Use::Read, Verdict::Ok, "does not exist yet"),
            (at("file"), Use::Read, Verdict::Error, "is not a directory"),
            (
                at("file/below"),
                Use::Write,
                Verdict::Error,
                "cannot look at",
            ),
            (
                "/proc/1/nothing".into(),
                Use::Write,
                Verdict::Error,
                "cannot be made in",
            ),
            (at("open"), Use::Read, Verdict::Warning, "every user"),
        ] {
            let (got, text) = looked_at(&path, what_for);
            assert_eq!(got, verdict, "{}: {text}", path.display());
            assert!(text.contains(found), "{text}");
        }
        assert!(!at("a").exists());
    }

    // spec: CHECK-2
    #[test]
    fn a_setting_that_is_misspelt_is_told() {
        let mut report = Report::default();
        let names = ["DEMO_ADR", "OTHER_ADDR", "PATH"].map(str::to_owned);
        unknown_settings(&mut report, &PROGRAM, names.into_iter());
        let findings: Vec<&str> = report
            .findings()
            .iter()
            .map(|finding| finding.subject.as_str())
            .collect();
        assert_eq!(findings, ["DEMO_ADR"]);
    }

    // spec: CHECK-2, SEE-16
    #[test]
    fn an_address_that_is_taken_or_foreign_is_told() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let verdicts = |addr: String, metrics: Option<String>| {
            let all = [("DEMO_ADDR", Some(addr)), ("DEMO_METRICS_ADDR", metrics)];
            let set = all
                .into_iter()
                .filter_map(|(name, addr)| Some((name, addr?)));
            let environment = service_runtime::env::Environment::from_pairs(set);
            let mut problems = Problems::default();
            let settings = Settings::read(&environment, &PROGRAM, 1, &mut problems);
            let mut report = Report::default();
            common(&mut report, &PROGRAM, &settings);
            report
                .findings()
                .iter()
                .map(|finding| finding.verdict)
                .collect::<Vec<_>>()
        };
        use Verdict::{Error, Ok, Warning};
        let verdict = |addr| verdicts(addr, None);
        assert_eq!(verdict("127.0.0.1:0".to_owned()), [Ok, Ok, Ok]);
        assert_eq!(
            verdict(taken.local_addr().unwrap().to_string()),
            [Ok, Warning, Ok]
        );
        assert_eq!(verdict("192.0.2.1:0".to_owned()), [Ok, Error, Warning]);
        let metrics = |addr| verdicts("127.0.0.1:0".to_owned(), Some(addr));
        assert_eq!(metrics("127.0.0.1:0".to_owned()), [Ok, Ok, Ok, Ok]);
        assert_eq!(
            metrics(taken.local_addr().unwrap().to_string()),
            [Ok, Ok, Warning, Ok]
        );
        assert_eq!(metrics("192.0.2.1:0".to_owned()), [Ok, Ok, Error, Ok]);
    }
}
