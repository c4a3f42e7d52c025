//! A daemon as a process that can be restarted.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result};

use child_process::{Group, Log, Process};

/// How long a daemon may take until it listens; a few milliseconds on an idle machine.
const START: Duration = Duration::from_secs(90);

/// The environment variables that a daemon inherits from the test; all others are set explicitly.
/// The last names the file for coverage data.
const INHERITED: [&str; 4] = ["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE"];

/// An environment variable for a daemon: its name and value.
pub type Setting<'a> = (&'a str, &'a str);

/// A daemon's program and settings, and its process when it runs.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    program: PathBuf,
    directory: PathBuf,
    logs: PathBuf,
    settings: BTreeMap<String, String>,
    group: Group,
    starts: u32,
    process: Option<Process>,
}

impl Daemon {
    /// A daemon that does not run yet.
    #[must_use]
    pub fn new(name: &str, program: &Path, directory: &Path, logs: &Path, group: Group) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            directory: directory.to_owned(),
            logs: logs.to_owned(),
            settings: BTreeMap::new(),
            group,
            starts: 0,
            process: None,
        }
    }

    /// Sets an environment variable for the next start.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.settings.insert(variable.to_owned(), value.to_owned());
    }

    /// The setting of a variable.
    #[must_use]
    pub fn setting(&self, variable: &str) -> Option<&str> {
        self.settings.get(variable).map(String::as_str)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory it runs in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts it and waits until it listens. Each start has a log file of its own.
    ///
    /// # Errors
    /// When it ends or does not listen in time; the error shows the end of the log.
    pub fn start(&mut self) -> Result<SocketAddr> {
        self.starts += 1;
        let log = self.logs.join(format!("{}-{}.log", self.name, self.starts));
        let mut command = Command::new(&self.program);
        command.current_dir(&self.directory).env_clear();
        for variable in INHERITED {
            if let Some(value) = std::env::var_os(variable) {
                command.env(variable, value);
            }
        }
        command.env("RUST_LOG", "info").envs(&self.settings);
        let mut process = Process::spawn(&self.name, &mut command, &log, self.group)?;
        let line = process.wait_line(&["listening on "], START)?;
        let address =
            address_in(&line).with_context(|| format!("no address in the log line {line:?}"))?;
        self.process = Some(process);
        Ok(address)
    }

    /// Its process.
    ///
    /// # Errors
    /// When it was never started or was killed.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process
            .as_mut()
            .with_context(|| format!("{} does not run", self.name))
    }

    /// Takes its process.
    ///
    /// # Errors
    /// When it was never started or was killed.
    pub fn into_process(self) -> Result<Process> {
        let name = self.name;
        self.process.with_context(|| format!("{name} does not run"))
    }

    /// The log of the last start.
    ///
    /// # Errors
    /// When it was never started or was killed.
    pub fn log(&self) -> Result<Log> {
        let process = self
            .process
            .as_ref()
            .with_context(|| format!("{} does not run", self.name))?;
        Ok(process.log().clone())
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Errors
    /// When it still runs after `grace`.
    pub fn terminate(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.process()?.terminate(grace)
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }
}

/// The last `host:port` after "listening on" in a log line.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on ")?;
    rest.split(|c: char| c.is_whitespace() || matches!(c, '"' | ',' | '/' | '='))
        .filter_map(|token| token.trim_end_matches('.').parse().ok())
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_address_from_the_log_line() {
        for line in [
            "2025-09-30T22:00:00Z  INFO orchestratord listening on 127.0.0.1:8080",
            "INFO pool-managerd listening on http://127.0.0.1:8080",
            r#"{"level":"INFO","message":"orchestratord listening on 127.0.0.1:8080"}"#,
            "INFO listening on http://127.0.0.1:8080/ profile=cloud",
        ] {
            assert_eq!(
                address_in(line),
                Some("127.0.0.1:8080".parse().unwrap()),
                "{line}"
            );
        }
        assert_eq!(address_in("INFO listening on all ports"), None);
    }

    /// A program that prints the log line of a daemon and its environment.
    fn script(directory: &Path) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = directory.join("daemon");
        let text = "#!/bin/sh\ntrap 'exit 0' TERM\necho settings $A $CARGO_MANIFEST_DIR in $PWD\n\
                    echo x listening on http://127.0.0.1:4242\nwhile :; do sleep 0.01; done\n";
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn starts_again_with_a_new_log_and_no_foreign_settings() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let mut daemon = Daemon::new("d", &script(directory), directory, directory, Group::Ours);
        assert!(daemon.log().is_err());
        daemon.set("A", "1");
        assert_eq!(daemon.start().unwrap().port(), 4242);
        let first = daemon.log().unwrap();
        assert!(
            first
                .text()
                .contains(&format!("settings 1 in {}", directory.display())),
            "{}",
            first.text()
        );
        assert!(daemon.terminate(START).unwrap().success());

        daemon.set("A", "2");
        daemon.start().unwrap();
        assert!(daemon.log().unwrap().text().contains("settings 2 "));
        assert!(first.text().contains("settings 1 "));
        daemon.kill();
        assert!(daemon.process().is_err());
    }

    #[test]
    fn a_daemon_that_does_not_come_up_tells_why() {
        let directory = tempfile::tempdir().unwrap();
        let path = script(directory.path());
        std::fs::write(&path, "#!/bin/sh\necho port is taken\nexit 1\n").unwrap();
        let mut daemon = Daemon::new("d", &path, directory.path(), directory.path(), Group::Ours);
        let error = daemon.start().unwrap_err().to_string();
        assert!(
            error.contains("d ended") && error.contains("port is taken"),
            "{error}"
        );
    }
}
