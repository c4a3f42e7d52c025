//! Tests of the configuration file.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::fixtures::DEMO;

fn read_text(text: &str) -> (Vec<String>, Vec<String>) {
    let content = parse("demo.toml", text, &DEMO.settings());
    let values = content.values.iter();
    let values = values.map(|value| format!("{} = {}", value.variable, value.text));
    let problems = content.problems.iter();
    let problems = problems.map(|(place, problem)| format!("{place}: {problem}"));
    (values.collect(), problems.collect())
}

// spec: CONF-41
#[test]
fn each_toml_type_becomes_the_text_of_its_setting() {
    let (values, problems) = read_text(
        "max_body_mib = 1_0\nthreads = 0x10\ndrain_timeout_secs = \"7\"\ncloud_profile = true\n\
         require_auth = \"beyond-loopback\"\nallowed_hosts = [\"a\", \"b\"]\nkeys_file = \"\"\n\
         state_dir = '/s'\napi_token = \"a-long-secret\"\nrust_log = \"debug\"\n",
    );
    assert_eq!(problems, <[String; 0]>::default());
    assert_eq!(
        values,
        [
            "DEMO_MAX_BODY_MIB = 10",
            "DEMO_THREADS = 16",
            "DEMO_DRAIN_TIMEOUT_SECS = 7",
            "DEMO_CLOUD_PROFILE = true",
            "DEMO_REQUIRE_AUTH = beyond-loopback",
            "DEMO_ALLOWED_HOSTS = a,b",
            "DEMO_STATE_DIR = /s",
            "LLORCH_API_TOKEN = a-long-secret",
            "RUST_LOG = debug",
        ]
    );
}

// spec: CONF-42
#[test]
fn every_problem_has_its_line() {
    let (values, problems) = read_text(
        "# comment\nstate_dirr = \"/s\"\nDEMO_THREADS = 1\nthreads = true\nkeys_file = 7\n\
         allowed_hosts = [\"a,b\"]\nruntime_dir = \"/r\"\nruntime_dir = \"/q\"\n\
         allow_plain_http = nonsense\notel_exporter_otlp_endpoint = \"http://a\"\n[server]\n\
         x = 1\n",
    );
    assert_eq!(values, ["DEMO_RUNTIME_DIR = /r"]);
    let starts = [
        "demo.toml:2: \"state_dirr\": is no setting; did you mean state_dir?",
        "demo.toml:3: \"DEMO_THREADS\": is no setting; did you mean threads?",
        "demo.toml:4: threads: must be a number, not a boolean",
        "demo.toml:5: keys_file: must be a string, not an integer",
        "demo.toml:6: allowed_hosts: must have no comma within an entry",
        "demo.toml:8:1: duplicate key",
        "demo.toml:9:20: ",
        "demo.toml:10: \"otel_exporter_otlp_endpoint\": works only as the variable \
         OTEL_EXPORTER_OTLP_ENDPOINT",
        "demo.toml:11: \"server\": is no setting; settings are in no table",
    ];
    assert_eq!(problems.len(), starts.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}\n{start}");
    }
}

// spec: CONF-45
#[test]
fn a_broken_file_repeats_no_secret() {
    for text in [
        "api_token = [\"hunter2hunter2\"]",
        "api_token = hunter2hunter2",
        "api_token = \"hunter2hunter2",
        "api_token = 'hunter2hunter2' hunter2hunter2",
        "api_token = { a = \"hunter2hunter2\" }",
        "api_tokn = \"hunter2hunter2\"",
        "api_token = \"\\q hunter2hunter2\"",
        "api_token hunter2hunter2",
    ] {
        let (_, problems) = read_text(text);
        assert!(!problems.is_empty(), "{text}");
        assert!(!problems.concat().contains("hunter2"), "{problems:?}");
    }
}

// spec: CONF-43
#[test]
fn a_file_that_cannot_be_used_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("demo.toml");
    let shown = path.display().to_string();
    let settings = DEMO.settings();
    let problem = |at: FileAt| {
        let content = read(&at, &settings)?;
        let all: Vec<String> = content.problems.iter().map(|it| it.1.to_owned()).collect();
        assert_eq!(content.problems.iter().next().unwrap().0, shown);
        Some(all.concat())
    };
    assert_eq!(problem(FileAt::Usual(path.clone())), None);
    let missing = problem(FileAt::Named(path.clone())).unwrap();
    assert!(
        missing.starts_with("cannot be read: No such file"),
        "{missing}"
    );
    let named = || problem(FileAt::Usual(path.clone())).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(named(), "must be a regular file");
    fs::remove_dir(&path).unwrap();
    fs::write(&path, b"\xff").unwrap();
    assert_eq!(named(), "must be UTF-8 text");
    fs::write(&path, vec![b'#'; 300_000]).unwrap();
    assert_eq!(named(), "must have at most 262144 bytes");
}

// spec: CONF-45
#[test]
fn a_secret_that_everybody_can_read_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("demo.toml");
    let exposed = |text: &str, mode: u32| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let content = read(&FileAt::Named(path.clone()), &DEMO.settings()).unwrap();
        content.exposed.is_some()
    };
    assert!(exposed("api_token = \"a-long-secret\"", 0o644));
    assert!(!exposed("api_token = \"a-long-secret\"", 0o640));
    assert!(!exposed("threads = 1", 0o644));
}
