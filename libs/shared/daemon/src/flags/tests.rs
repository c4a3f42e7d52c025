//! Tests of the arguments.

use super::*;
use crate::fixtures::DEMO;

fn read(arguments: &[&str]) -> Arguments {
    let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
    parse(&arguments, &DEMO.settings())
}

// spec: CONF-44
#[test]
fn a_flag_has_its_value_behind_a_blank_or_an_equals_sign() {
    let read = read(&[
        "check",
        "--threads",
        "3",
        "--json",
        "--drain-timeout-secs=5",
        "--cloud-profile",
        "--config=x.toml",
        "--allow-plain-http",
        "false",
    ]);
    assert!(read.problems.is_empty(), "{}", read.problems);
    assert_eq!(read.mode, Mode::Check { as_json: true });
    assert_eq!(read.config, Some("x.toml".into()));
    let flags: Vec<(&str, &str)> = read
        .flags
        .iter()
        .map(|flag| (flag.variable.as_str(), flag.text.as_str()))
        .collect();
    assert_eq!(
        flags,
        [
            ("DEMO_THREADS", "3"),
            ("DEMO_DRAIN_TIMEOUT_SECS", "5"),
            ("DEMO_CLOUD_PROFILE", "true"),
            ("DEMO_ALLOW_PLAIN_HTTP", "false"),
        ]
    );
}

// spec: CONF-44, CONF-45
#[test]
fn every_bad_argument_is_reported_without_values() {
    let read = read(&[
        "--api-token",
        "hunter2hunter2",
        "--api-tokn=hunter2hunter2",
        "--thread",
        "3",
        "--threads",
        "--state-dir=a",
        "--state-dir=b",
        "serve",
        "--json",
        "--otel-exporter-otlp-endpoint=http://a",
    ]);
    let problems = read.problems.to_string();
    assert!(!problems.contains("hunter2"), "{problems}");
    let lines: Vec<&str> = problems.lines().collect();
    let starts = [
        "--api-token: is no flag, because every user of this machine can see arguments: set \
         LLORCH_API_TOKEN, or api_token in the configuration file",
        "--api-tokn: is an unknown argument",
        "--thread: is an unknown argument; did you mean --threads?",
        "--threads: must have a value",
        "--state-dir: must be given only once",
        "\"serve\": is an unknown argument",
        "--json: is an unknown argument",
        "--otel-exporter-otlp-endpoint: works only as the variable OTEL_EXPORTER_OTLP_ENDPOINT",
    ];
    assert_eq!(lines.len(), starts.len(), "{problems}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}\n{start}");
    }
}

// spec: CONF-3
#[test]
fn pages_need_no_other_argument() {
    for (argument, mode) in [
        ("--help", Mode::Help),
        ("-h", Mode::Help),
        ("--settings", Mode::Settings),
        ("--limits", Mode::Limits),
        ("--openapi", Mode::OpenApi),
        ("-V", Mode::Version),
        ("check", Mode::Check { as_json: false }),
    ] {
        let read = read(&[argument]);
        assert_eq!((read.mode, read.problems.is_empty()), (mode, true));
    }
    assert_eq!(read(&["--threads", "1", "--help"]).mode, Mode::Help);
}
