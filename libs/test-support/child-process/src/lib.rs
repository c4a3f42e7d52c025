//! A child process with a log file. Dropping it kills the process.

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use test_clock::wait_for_some;

/// Which processes get the signals of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The child too, so that a test runner can kill the whole group.
    Ours,
    /// This process only, so that it can stop its children in order after Ctrl-C.
    Own,
}

/// What a process wrote to its standard output and error.
#[derive(Debug, Clone)]
pub struct Log {
    path: PathBuf,
}

impl Log {
    /// What a process writes to the file at `path`.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The file it is in.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole text so far; empty when it cannot be read.
    #[must_use]
    pub fn text(&self) -> String {
        std::fs::read(&self.path).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// The first line that contains all of `parts`.
    #[must_use]
    pub fn line_with(&self, parts: &[&str]) -> Option<String> {
        self.text()
            .lines()
            .find(|line| parts.iter().all(|part| line.contains(part)))
            .map(str::to_owned)
    }

    /// Waits for a line that contains all of `parts`.
    ///
    /// # Errors
    /// When `deadline` passes first.
    pub fn wait_line(&self, parts: &[&str], deadline: Duration) -> Result<String> {
        let what = format!("a line with {parts:?} in {}", self.path.display());
        wait_for_some(&what, deadline, || self.line_with(parts))
    }

    /// The last lines.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let text = self.text();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// A running or ended child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Log,
}

impl Process {
    /// Starts `command` with standard output and error in the file `log`.
    ///
    /// # Errors
    /// When the log cannot be made or the program cannot be started.
    pub fn spawn(name: &str, command: &mut Command, log: &Path, group: Group) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        let errors = file.try_clone().context("cannot share the log file")?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        if group == Group::Own {
            command.process_group(0);
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: Log {
                path: log.to_owned(),
            },
        })
    }

    /// Its name in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its exit status, after its end.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for a line of its log with all of `parts`, but not longer than it lives.
    ///
    /// # Errors
    /// When it ends or `deadline` passes first; the error shows the end of the log.
    pub fn wait_line(&mut self, parts: &[&str], deadline: Duration) -> Result<String> {
        let what = format!("a log line with {parts:?}");
        let found = wait_for_some(&what, deadline, || {
            // Asked before the log is read, so that the last lines before its end are found.
            let ended = self.ended();
            match (self.log.line_with(parts), ended) {
                (Some(line), _) => Some(Ok(line)),
                (None, Some(status)) => Some(Err(status)),
                (None, None) => None,
            }
        });
        match found {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(status)) => bail!("{} ended ({status}):\n{}", self.name, self.log.tail(20)),
            Err(error) => Err(error.context(format!("{} said:\n{}", self.name, self.log.tail(20)))),
        }
    }

    /// Sends a signal. Does nothing after its end.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // A child that was not waited for keeps its pid, so no other process gets the signal.
        if self.ended().is_some() {
            return Ok(());
        }
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .context("not a process id")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Errors
    /// When it still runs after `grace`.
    pub fn terminate(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait_end(grace)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `deadline`.
    pub fn wait_end(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait_for_some(&what, deadline, || self.ended())
    }

    /// Sends SIGTERM, and SIGKILL when it still runs after `grace`.
    pub fn end(&mut self, grace: Duration) {
        if self.terminate(grace).is_err() {
            self.kill();
        }
    }

    /// Sends SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// When it cannot be run or fails; the error contains its output.
pub fn succeed(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}

/// The Rust of the README is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    fn shell(script: &str, directory: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn("shell", &mut command, &directory.join("log"), Group::Ours).unwrap()
    }

    #[test]
    fn terminates_and_tells_how_it_ended() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = shell(
            "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done",
            directory.path(),
        );
        assert_eq!(process.wait_line(&["u", "p"], SOON).unwrap(), "up");
        assert_eq!(process.terminate(SOON).unwrap().code(), Some(7));
        process.signal(Signal::TERM).unwrap();
    }

    #[test]
    fn an_early_end_is_told_with_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = shell("echo no such model >&2; exit 3", directory.path());
        let error = process
            .wait_line(&["listening"], SOON)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("no such model"),
            "{error}"
        );
    }

    #[test]
    fn dropping_kills() {
        let directory = tempfile::tempdir().unwrap();
        let process = shell(
            "trap '' TERM; echo up; while :; do sleep 0.01; done",
            directory.path(),
        );
        let pid = Pid::from_raw(process.pid() as i32).unwrap();
        drop(process);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
