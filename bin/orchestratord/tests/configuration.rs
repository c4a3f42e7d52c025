//! Settings from the configuration file and from flags.

use std::fs;

use daemon_process::{Configured, check, has};

const DAEMON: Configured<'_> = Configured {
    program: env!("CARGO_BIN_EXE_orchestratord"),
    prefix: "ORCHESTRATORD_",
    number: "queue_limit",
};

// spec: CONF-44, CONF-46
#[test]
fn each_setting_has_a_key_and_a_flag() {
    DAEMON.has_a_key_and_a_flag_for_each_setting();
}

// spec: CONF-41
#[test]
fn a_flag_and_a_variable_count_before_the_file() {
    DAEMON.prefers_flags_and_variables();
}

// spec: CONF-41, CONF-42
#[test]
fn all_problems_are_reported_with_their_places() {
    DAEMON.reports_all_problems_with_their_places();
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
    let report = check(DAEMON.program, directory.path(), &arguments);
    let found = format!("set by {}:5: placement", file.display());
    assert!(has(&report, "ORCHESTRATORD_PLACEMENT", &found), "{report}");
    assert!(!report.to_string().contains("--help"), "{report}");
    assert!(!report.to_string().contains("replace-this"), "{report}");
}
