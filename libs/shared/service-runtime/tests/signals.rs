//! Signals to a child process: the first requests a shutdown, the second exits.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use service_runtime::{EXIT_SECOND_SIGNAL, Shutdown, Tasks, signals};

/// Tells a child process its role.
const ROLE: &str = "SERVICE_RUNTIME_TEST_ROLE";

// spec: STOP-1
#[test]
fn the_first_signal_asks() {
    if is_child() {
        return daemon(false);
    }
    for signal in [Signal::TERM, Signal::INT] {
        let mut child = Daemon::start("the_first_signal_asks");
        child.kill(signal);
        child.expect("stopping");
        assert!(child.end().success());
    }
}

// spec: STOP-1
#[test]
fn the_second_signal_insists() {
    if is_child() {
        return daemon(true);
    }
    let mut child = Daemon::start("the_second_signal_insists");
    child.kill(Signal::TERM);
    child.expect("stopping");
    child.kill(Signal::INT);
    assert_eq!(child.end().code(), Some(EXIT_SECOND_SIGNAL));
}

fn is_child() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// Runs in the child: reports when it listens, and when a shutdown was requested.
#[expect(clippy::print_stdout, reason = "how the child tells its state")]
fn daemon(stubborn: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        signals(shutdown.clone(), &tasks).unwrap();
        println!("\nlistening");
        shutdown.requested().await;
        println!("\nstopping");
        tasks.join(Duration::ZERO).await.unwrap();
        if stubborn {
            std::future::pending::<()>().await;
        }
    });
}

struct Daemon {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Daemon {
    fn start(test: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(ROLE, "daemon")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut daemon = Self { child, output };
        daemon.expect("listening");
        daemon
    }

    fn kill(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn expect(&mut self, line: &str) {
        let mut seen = String::new();
        while seen.trim_end() != line {
            seen.clear();
            assert!(
                self.output.read_line(&mut seen).unwrap() > 0,
                "ended before {line}"
            );
        }
    }

    fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}
