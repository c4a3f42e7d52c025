//! The part of `check` that is the same for all daemons. Nothing is created or changed.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use service_runtime::env::Problems;

use crate::{
    common::{METRICS_ADDR, TOKEN},
    program::Program,
    report::Report,
    settings::Settings,
    tls,
};

/// Reports bad settings, one finding for each.
pub(crate) fn bad_settings(report: &mut Report, program: &Program, problems: &Problems) {
    for (name, text) in problems.iter() {
        let is_variable = !name.contains([':', '-', '/', '"']);
        let hint = if is_variable {
            format!(
                "correct {name}, or unset it; `{} --help` describes it",
                program.name
            )
        } else {
            format!("correct it there; see `{} --help`", program.name)
        };
        report.error(name, text, hint);
    }
}

/// Reports the common settings.
pub(crate) fn common(report: &mut Report, program: &Program, settings: &Settings) {
    let profile = if settings.is_cloud { "CLOUD" } else { "HOME" };
    report.ok("settings", format!("all are right; profile {profile}"));
    let variable = program.address.variable(program.prefix);
    address(report, program, &variable, settings.addr);
    if let Some(addr) = settings.metrics_addr {
        address(
            report,
            program,
            &METRICS_ADDR.variable(program.prefix),
            addr,
        );
    }
    tls::check(report, program, settings.tls.as_ref());
    let token = TOKEN.variable(program.prefix);
    let beyond_loopback = !settings.addr.ip().is_loopback();
    if settings.token.is_some() {
        report.ok(token, "set");
    } else if settings.keys_file.is_some() {
        let found = "none: peers present the token of a key of the file";
        report.ok(token, found);
    } else if beyond_loopback {
        let found = format!(
            "none, and it listens on {}: requests from other machines get 401",
            settings.addr
        );
        report.warning(
            token,
            found,
            "set the same token, of 8 to 1024 printable characters, for all daemons and clients",
        );
    } else {
        report.ok(token, "none: loopback peers only");
    }
}

fn address(report: &mut Report, program: &Program, variable: &str, addr: SocketAddr) {
    match TcpListener::bind(addr) {
        Ok(_) => report.ok(variable, format!("{addr} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => report.warning(
            variable,
            format!("another process listens on {addr}"),
            format!(
                "nothing, if that is {} itself; otherwise end it, or set {variable} to another \
                 port",
                program.name
            ),
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => report.error(
            variable,
            format!("this user may not listen on {addr}"),
            format!("set {variable} to a port of 1024 or more"),
        ),
        Err(error) => report.error(
            variable,
            format!("cannot listen on {addr}: {error}"),
            format!(
                "set {variable} to an address of this machine, or to 0.0.0.0 and the port for all \
                 of them"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use service_runtime::env::Environment;

    use super::*;
    use crate::{SettingsReader, Verdict, fixtures::DEMO as PROGRAM};

    // spec: CHECK-2, SEE-16
    #[test]
    fn an_address_that_is_taken_or_foreign_is_reported() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let verdicts = |addr: String, metrics: Option<String>| {
            let all = [("DEMO_ADDR", Some(addr)), ("DEMO_METRICS_ADDR", metrics)];
            let set = all
                .into_iter()
                .filter_map(|(name, addr)| Some((name, addr?)));
            let mut reader = SettingsReader::new(&PROGRAM, Environment::from_pairs(set));
            let settings = Settings::read(&mut reader, &PROGRAM);
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
