//! The agent as a process: each line that it logs says which node it is, whatever the level.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, ChildStderr, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const DAEMON: &str = env!("CARGO_BIN_EXE_pool-managerd");

struct Agent {
    child: Child,
    log: BufReader<ChildStderr>,
    seen: Vec<Value>,
}

impl Agent {
    /// Reads its log until a line has `part`.
    fn until(&mut self, part: &str) {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            assert!(
                self.log.read_line(&mut line).unwrap() > 0,
                "ended before {part:?}"
            );
            self.seen.push(serde_json::from_str(&line).unwrap());
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It has ended already, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a line, or a span around it, says under `name`.
fn said<'l>(line: &'l Value, name: &str) -> Option<&'l str> {
    let spans = line["spans"].as_array().into_iter().flatten();
    let mut all = std::iter::once(line).chain(spans);
    all.find_map(|place| place[name].as_str())
}

/// All lines of an agent that meets an engine that is not there, a handoff that is none, no control
/// plane, and its end.
fn life(level: &str) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let engines = directory.path().join("engines");
    fs::create_dir(&engines).unwrap();
    // Bound and not listened to by anybody who answers.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = closed.local_addr().unwrap().port();
    drop(closed);
    let handoff = format!(
        concat!(
            r#"{{"pool_id":"pool-0","replica_id":"r0","engine":"llamacpp","#,
            r#""url":"http://localhost:{gone}","slots":2}}"#
        ),
        gone = gone
    );
    fs::write(engines.join("pool-0_r0.json"), handoff).unwrap();
    fs::write(engines.join("pool-0_r1.json"), "{").unwrap();
    let mut child = Command::new(DAEMON)
        .current_dir(directory.path())
        .env("POOL_MANAGERD_ADDR", "127.0.0.1:0")
        .env("POOL_MANAGERD_ADDRESS", "http://127.0.0.1:9")
        .env("POOL_MANAGERD_CLOUD_PROFILE", "true")
        .env("POOL_MANAGERD_NODE_ID", "gpu-1")
        .env("POOL_MANAGERD_RUNTIME_DIR", &engines)
        .env("POOL_MANAGERD_STATE_DIR", directory.path().join("state"))
        .env("POOL_MANAGERD_LOG_FORMAT", "json")
        .env("ORCHESTRATORD_URL", format!("http://127.0.0.1:{gone}"))
        .env("RUST_LOG", level)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let mut agent = Agent {
        child,
        log,
        seen: Vec::new(),
    };
    agent.until("Engine is not ready");
    if level != "warn" {
        kill_process(Pid::from_child(&agent.child), Signal::TERM).unwrap();
        agent.until("pool-managerd stopped");
        assert_eq!(agent.child.wait().unwrap().code(), Some(0));
    }
    std::mem::take(&mut agent.seen)
}

// spec: SEE-19
#[test]
fn every_line_says_which_node_and_a_warning_what_to_do() {
    // Beside one another: each waits for three probes in vain.
    let lives =
        ["warn", "info", "trace"].map(|level| (level, std::thread::spawn(move || life(level))));
    for (level, life) in lives {
        let lines = life.join().unwrap();
        for line in &lines {
            assert_eq!(said(line, "node_id"), Some("gpu-1"), "at {level}: {line}");
        }
        let about_engine = |line: &&Value| {
            line["message"]
                .as_str()
                .unwrap()
                .contains("Engine is not ready")
        };
        let line = lines.iter().find(about_engine).unwrap();
        assert_eq!(
            (&line["pool_id"], &line["replica_id"]),
            (&"pool-0".into(), &"r0".into())
        );
        for line in lines.iter().filter(|line| line["level"] == "WARN") {
            let advice = line["message"].as_str().unwrap().split_once([';', ':']);
            assert!(
                advice.is_some() || line["advice"].is_string(),
                "what to do about {line}?"
            );
        }
    }
}
