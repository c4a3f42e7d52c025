//! Two agents, and their directories.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

const DAEMON: &str = env!("CARGO_BIN_EXE_pool-managerd");

const CLOUD: [(&str, &str); 3] = [
    ("POOL_MANAGERD_CLOUD_PROFILE", "true"),
    ("POOL_MANAGERD_NODE_ID", "n"),
    ("ORCHESTRATORD_REGISTER_ON_STARTUP", "false"),
];

/// An agent in its default directories.
fn command(directory: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(DAEMON);
    command
        .env("POOL_MANAGERD_ADDR", "127.0.0.1:0")
        .envs(settings.iter().copied())
        .env_remove("RUST_LOG")
        .current_dir(directory)
        .stderr(Stdio::piped());
    command
}

struct Agent(Child);

impl Agent {
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

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// spec: CONF-20
#[test]
fn a_second_agent_in_the_same_directories_names_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let first = Agent::start(directory.path(), &CLOUD);
    let output = command(directory.path(), &CLOUD).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let pid = format!("process {}", first.0.id());
    assert!(
        output.status.code() == Some(1) && said.contains(&pid),
        "{said}"
    );
    drop(first);
    drop(Agent::start(directory.path(), &CLOUD));
}

// spec: CONF-24
#[test]
fn in_home_an_agent_locks_and_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let _first = Agent::start(directory.path(), &[]);
    let _second = Agent::start(directory.path(), &[]);
    let _cloud = Agent::start(directory.path(), &CLOUD);
    drop((_first, _second, _cloud));
    let fresh = tempfile::tempdir().unwrap();
    drop(Agent::start(fresh.path(), &[]));
    assert_eq!(fresh.path().read_dir().unwrap().count(), 0);
}
