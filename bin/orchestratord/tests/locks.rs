//! Two control planes, and their directories.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

const DAEMON: &str = env!("CARGO_BIN_EXE_orchestratord");

/// A daemon in its default directories.
fn command(directory: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(DAEMON);
    command
        .env("ORCHESTRATORD_ADDR", "127.0.0.1:0")
        .envs(settings.iter().copied())
        .env_remove("RUST_LOG")
        .current_dir(directory)
        .stderr(Stdio::piped());
    command
}

struct Daemon(Child);

impl Daemon {
    /// One that listens.
    fn start(directory: &Path, settings: &[(&str, &str)]) -> Self {
        let mut started = Self(command(directory, settings).spawn().unwrap());
        let log = BufReader::new(started.0.stderr.take().unwrap());
        let mut said = Vec::new();
        for line in log.lines().map(Result::unwrap) {
            if line.contains("listening on ") {
                return started;
            }
            said.push(line);
        }
        unreachable!("it does not start: {said:?}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The exit code of one that does not start, and what it says.
fn refused(directory: &Path, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = command(directory, settings).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

const CLOUD: [(&str, &str); 1] = [("ORCHESTRATORD_CLOUD_PROFILE", "true")];

// spec: CONF-20
#[test]
fn a_second_one_in_the_same_directories_names_the_first() {
    let directory = tempfile::tempdir().unwrap();
    for settings in [&[][..], &CLOUD] {
        let first = Daemon::start(directory.path(), settings);
        let (code, said) = refused(directory.path(), settings);
        let pid = format!("process {}", first.0.id());
        assert!(code == Some(1) && said.contains(&pid), "{code:?}: {said}");
        drop(first);
        // What a process that was killed has left is no lock.
        drop(Daemon::start(directory.path(), settings));
    }
}

// spec: CONF-24
#[test]
fn one_of_each_profile_have_nothing_in_common() {
    let directory = tempfile::tempdir().unwrap();
    let _home = Daemon::start(directory.path(), &[]);
    let _cloud = Daemon::start(directory.path(), &CLOUD);
}

// spec: CONF-22
#[test]
fn a_state_directory_that_cannot_be_made_is_a_warning_in_home() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join(".runtime")).unwrap();
    std::fs::write(directory.path().join(".runtime/state"), "").unwrap();
    let _home = Daemon::start(directory.path(), &[]);
    let (code, said) = refused(directory.path(), &CLOUD);
    assert_eq!(code, Some(1), "{said}");
}
