//! The directories of two control planes, and directories that cannot be used.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::{path::Path, process::Command};

use daemon_process::{DaemonProcess, refused};

const CLOUD: [(&str, &str); 1] = [("ORCHESTRATORD_CLOUD_PROFILE", "true")];

/// A daemon in the default directories below `directory`.
fn command(directory: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command =
        daemon_process::command(env!("CARGO_BIN_EXE_orchestratord"), directory, settings);
    command.env("ORCHESTRATORD_ADDR", "127.0.0.1:0");
    command
}

fn start(directory: &Path, settings: &[(&str, &str)]) -> DaemonProcess {
    DaemonProcess::start(command(directory, settings))
}

// spec: CONF-20
#[test]
fn a_second_one_in_the_same_directories_names_the_first() {
    let directory = tempfile::tempdir().unwrap();
    for settings in [&[][..], &CLOUD] {
        let first = start(directory.path(), settings);
        let (code, text) = refused(command(directory.path(), settings));
        let pid = format!("process {}", first.pid());
        assert!(code == Some(1) && text.contains(&pid), "{code:?}: {text}");
        first.kill();
        // The lock of a killed process does not hold.
        drop(start(directory.path(), settings));
    }
}

// spec: CONF-24
#[test]
fn one_of_each_profile_have_nothing_in_common() {
    let directory = tempfile::tempdir().unwrap();
    let _home = start(directory.path(), &[]);
    let _cloud = start(directory.path(), &CLOUD);
}

// spec: CONF-22
#[test]
fn a_state_directory_that_cannot_be_created_is_a_warning_in_home() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join(".runtime")).unwrap();
    std::fs::write(directory.path().join(".runtime/state"), "").unwrap();
    let _home = start(directory.path(), &[]);
    let (code, text) = refused(command(directory.path(), &CLOUD));
    assert_eq!(code, Some(1), "{text}");
}

// spec: CONF-25
#[test]
fn a_runtime_directory_that_is_a_file_is_a_bad_setting() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let settings = [("ORCHESTRATORD_RUNTIME_DIR", "file")];
    let problem = "ORCHESTRATORD_RUNTIME_DIR: must be a directory, but file is not a directory";
    let (code, text) = refused(command(directory.path(), &settings));
    assert!(
        code == Some(64) && text.contains(problem),
        "{code:?}: {text}"
    );
    let mut check = command(directory.path(), &settings);
    check.arg("check");
    let (code, text) = refused(check);
    assert!(
        code == Some(1) && text.contains("must be a directory"),
        "{code:?}: {text}"
    );
}
