//! Starts a daemon as a child process, for the tests of binaries.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a helper of tests panics when something fails, as tests do"
)]

mod configuration;

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::{Pid, Signal, kill_process},
};
use serde_json::Value;

pub use self::configuration::{Configured, has};

/// The beginning of the log line that names the listen address.
const LISTENING: &str = "listening on ";

/// A daemon that listens. It is killed when this is dropped.
#[derive(Debug)]
pub struct DaemonProcess {
    child: Child,
    log: BufReader<ChildStderr>,
    addr: SocketAddr,
}

/// The command of a daemon whose working directory is `directory`. Its default directories are
/// there. `settings` are environment variables.
#[must_use]
pub fn command(program: &str, directory: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command
        .envs(settings.iter().copied())
        .env_remove("RUST_LOG")
        .current_dir(directory)
        .stderr(Stdio::piped());
    command
}

/// Runs a daemon that does not start. Returns its exit code and its output.
#[must_use]
pub fn refused(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// What `check` of the daemon `program` says, as JSON, with `arguments` and nothing else set.
#[must_use]
pub fn check(program: &str, directory: &Path, arguments: &[String]) -> Value {
    let mut check = command(program, directory, &[]);
    let output = check.args(["check", "--json"]).args(arguments).output();
    serde_json::from_slice(&output.unwrap().stdout).unwrap()
}

/// The columns of each line of `--settings` of the daemon `program`.
#[must_use]
pub fn settings(program: &str) -> Vec<Vec<String>> {
    let output = Command::new(program).arg("--settings").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines();
    lines
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

/// Makes a named pipe, which no daemon must try to read.
pub fn make_pipe(path: &Path) {
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, path, FileType::Fifo, mode, 0).unwrap();
}

impl DaemonProcess {
    /// Starts a daemon, and returns when it listens.
    #[must_use]
    #[expect(
        clippy::zombie_processes,
        reason = "a test that panics here ends, and its child with the pipe"
    )]
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = String::new();
        loop {
            let before = lines.len();
            if log.read_line(&mut lines).unwrap() == 0 {
                panic!("the daemon does not start:\n{lines}");
            }
            if let Some((_, addr)) = lines[before..].split_once(LISTENING) {
                let addr = addr.trim().parse().unwrap();
                return Self { child, log, addr };
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its listen address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its log, from the line after the listen address.
    pub fn log(&mut self) -> &mut BufReader<ChildStderr> {
        &mut self.log
    }

    /// Kills it at once, like `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, like an init system. Returns its exit code.
    #[must_use]
    pub fn terminate(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        // It must not wait for a reader of its log.
        io::copy(&mut self.log, &mut io::sink()).unwrap();
        self.child.wait().unwrap().code()
    }

    /// Follows the events at `path` until one has the text `kind`. Earlier events count.
    pub fn await_event(&self, path: &str, kind: &str) {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        assert!(
            lines.any(|line| line.contains(kind)),
            "the events ended without {kind}"
        );
    }

    /// Sends a `GET`. Returns the status and the JSON body of the answer.
    #[must_use]
    pub fn get(&self, path: &str) -> (u16, Value) {
        self.request("GET", path, "")
    }

    /// Sends a `POST` with the JSON `body`. Returns the status and the JSON body of the answer.
    #[must_use]
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.request("POST", path, &body.to_string())
    }

    fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }
}

impl Drop for DaemonProcess {
    fn drop(&mut self) {
        // Both fail when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
