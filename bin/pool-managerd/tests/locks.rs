//! The directories of two agents, and directories that cannot be used.

use std::{path::Path, process::Command};

use daemon_process::{DaemonProcess, make_pipe, refused};

const CLOUD: [(&str, &str); 3] = [
    ("POOL_MANAGERD_CLOUD_PROFILE", "true"),
    ("POOL_MANAGERD_NODE_ID", "n"),
    ("ORCHESTRATORD_REGISTER_ON_STARTUP", "false"),
];

/// An agent in the default directories below `directory`.
fn command(directory: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command =
        daemon_process::command(env!("CARGO_BIN_EXE_pool-managerd"), directory, settings);
    command.env("POOL_MANAGERD_ADDR", "127.0.0.1:0");
    command
}

fn start(directory: &Path, settings: &[(&str, &str)]) -> DaemonProcess {
    DaemonProcess::start(command(directory, settings))
}

// spec: CONF-20
#[test]
fn a_second_agent_in_the_same_directories_names_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let first = start(directory.path(), &CLOUD);
    let (code, text) = refused(command(directory.path(), &CLOUD));
    let pid = format!("process {}", first.pid());
    assert!(code == Some(1) && text.contains(&pid), "{text}");
    first.kill();
    // The lock of a killed process does not hold.
    drop(start(directory.path(), &CLOUD));
}

// spec: CONF-24
#[test]
fn in_home_an_agent_locks_and_creates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let first = start(directory.path(), &[]);
    let second = start(directory.path(), &[]);
    let cloud = start(directory.path(), &CLOUD);
    drop((first, second, cloud));
    let fresh = tempfile::tempdir().unwrap();
    drop(start(fresh.path(), &[]));
    assert_eq!(fresh.path().read_dir().unwrap().count(), 0);
}

// spec: CONF-25
#[test]
fn a_pool_file_that_is_a_pipe_is_a_bad_setting() {
    let directory = tempfile::tempdir().unwrap();
    make_pipe(&directory.path().join("pipe"));
    let settings = [&CLOUD[..], &[("POOL_MANAGERD_POOLS_FILE", "pipe")]].concat();
    let problem = "POOL_MANAGERD_POOLS_FILE: must be the path of a regular file, but pipe is";
    let (code, text) = refused(command(directory.path(), &settings));
    assert!(
        code == Some(64) && text.contains(problem),
        "{code:?}: {text}"
    );
}
