//! The daemon as a process: what it does when it is told to stop, and when nobody reads what it says.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStderr, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

const DAEMON: &str = env!("CARGO_BIN_EXE_orchestratord");

struct Daemon {
    child: Child,
    log: BufReader<ChildStderr>,
    addr: SocketAddr,
}

impl Daemon {
    fn start(settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(DAEMON)
            .env("ORCHESTRATORD_ADDR", "127.0.0.1:0")
            .env("ORCHESTRATORD_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"))
            .envs(settings.iter().copied())
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let line = line_with(&mut log, "listening on ");
        let addr = line.rsplit(' ').next().unwrap().trim().parse().unwrap();
        Self { child, log, addr }
    }

    fn ready(&self) -> String {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream
            .write_all(b"GET /ready HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply.lines().next().unwrap().to_owned()
    }

    fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line_with(log: &mut BufReader<ChildStderr>, part: &str) -> String {
    let mut line = String::new();
    while !line.contains(part) {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "ended before {part:?}");
    }
    line
}

// spec: STOP-7
#[test]
fn a_stop_serves_on_as_not_ready_for_the_grace() {
    // Longer than any test: the second signal ends it.
    let mut daemon = Daemon::start(&[("ORCHESTRATORD_SHUTDOWN_GRACE_MS", "600000")]);
    assert_eq!(daemon.ready(), "HTTP/1.1 200 OK");
    daemon.terminate();
    line_with(&mut daemon.log, "stopping");
    // The signal's own task says so before the others hear of it.
    while daemon.ready() == "HTTP/1.1 200 OK" {}
    assert_eq!(daemon.ready(), "HTTP/1.1 503 Service Unavailable");
    daemon.terminate();
    assert_eq!(daemon.child.wait().unwrap().code(), Some(130));
}

// spec: STOP-1
#[test]
fn a_stop_without_a_grace_ends_at_once() {
    let mut daemon = Daemon::start(&[]);
    daemon.terminate();
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
}

// spec: STOP-6
#[test]
fn nobody_reads_what_it_says() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let refused = Command::new(DAEMON).arg("--nonsense").stderr(full()).status();
    assert_eq!(refused.unwrap().code(), Some(64));
    let help = Command::new(DAEMON).arg("--help").stdout(full()).status();
    assert_eq!(help.unwrap().code(), Some(1));
}
