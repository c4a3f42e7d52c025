//! The daemon without file descriptors: what it says of others then.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};

const DAEMON: &str = env!("CARGO_BIN_EXE_orchestratord");

/// Long for any machine; only a test that fails waits for so long.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

struct Daemon {
    child: Child,
    log: BufReader<ChildStderr>,
    addr: SocketAddr,
}

impl Daemon {
    fn start(state: &std::path::Path) -> Self {
        let mut child = Command::new(DAEMON)
            .env("ORCHESTRATORD_ADDR", "127.0.0.1:0")
            .env("ORCHESTRATORD_CLOUD_PROFILE", "true")
            .env("ORCHESTRATORD_STATE_DIR", state)
            .env("RUST_LOG", "info,registry_runtime=debug")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let line = line_with(&mut log, &["listening on "]);
        let addr = line.rsplit(' ').next().unwrap().trim().parse().unwrap();
        Self { child, log, addr }
    }

    /// Sets how many files it may have open from now on. Those that it has open stay so.
    fn limit_files(&self, current: Option<u64>) {
        // It has the hard limit of its parent, which is this process.
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit {
            current: current.or(maximum),
            maximum,
        };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line_with(log: &mut BufReader<ChildStderr>, parts: &[&str]) -> String {
    let mut line = String::new();
    while !parts.iter().all(|part| line.contains(part)) {
        line.clear();
        assert!(
            log.read_line(&mut line).unwrap() > 0,
            "ended before {parts:?}"
        );
    }
    line
}

/// A connection that is kept, so that it is served without a new descriptor.
struct Kept(BufReader<TcpStream>);

impl Kept {
    fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        Self(BufReader::new(stream))
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let mut status = String::new();
        self.0.read_line(&mut status).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        let code = status.split(' ').nth(1).unwrap().parse().unwrap();
        (code, serde_json::from_slice(&body).unwrap())
    }
}

/// An agent that is well: it answers whatever it is asked.
fn agent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    // It ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|length| length > 2) {
                line.clear();
            }
            let _ = stream
                .get_mut()
                .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}");
        }
    });
    addr
}

// spec: LIVE-17, PATH-41
#[test]
fn a_daemon_without_descriptors_calls_no_healthy_node_unreachable() {
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(state.path());
    let mut operator = Kept::open(daemon.addr);
    let node = json!({
        "node_id": "healthy", "machine_id": "m", "address": format!("http://{}", agent()),
        "pools": ["p"], "capabilities": {"gpus": [], "cpu_cores": 1, "ram_total_bytes": 1},
            "incarnation": 1,
    });
    let beat = json!({
        "timestamp": "2025-09-30T22:00:00Z", "incarnation": 1, "seq": 1,
        "pools": [{
            "pool_id": "p", "ready": true, "draining": false, "slots_free": 2, "slots_total": 2,
            "vram_free_bytes": 0, "engine": "llamacpp", "models_available": ["m"],
        }],
    });
    assert_eq!(
        operator
            .ask("POST", "/v2/nodes/register", &node.to_string())
            .0,
        200
    );
    assert_eq!(
        operator
            .ask("POST", "/v2/nodes/healthy/heartbeat", &beat.to_string())
            .0,
        200
    );

    // It has more open than this, so it cannot open another one. The agent closes each connection,
    // so that each probe and each request needs a new one.
    daemon.limit_files(Some(1));
    line_with(
        &mut daemon.log,
        &["WARN", "Nodes cannot be probed", "ulimit -n"],
    );
    // Two failures in a row would make it unreachable.
    for _ in 0..3 {
        line_with(
            &mut daemon.log,
            &["Node probe failed", "Too many open files"],
        );
    }
    let (_, nodes) = operator.ask("GET", "/v2/nodes", "");
    assert_eq!(nodes["nodes"][0]["status"], "online", "{nodes}");
    for _ in 0..5 {
        let request = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
        let (status, answer) = operator.ask("POST", "/v1/chat/completions", request);
        assert_eq!(status, 503, "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("this gateway cannot open more connections"),
            "{answer}"
        );
    }
    let (_, nodes) = operator.ask("GET", "/v2/nodes", "");
    let node = &nodes["nodes"][0];
    assert_eq!(node["status"], "online", "{nodes}");
    assert!(node["pools"][0]["quarantine"].is_null(), "{nodes}");

    daemon.limit_files(None);
    line_with(&mut daemon.log, &["Nodes are probed again"]);
    let (_, nodes) = operator.ask("GET", "/v2/nodes", "");
    assert_eq!(nodes["nodes"][0]["status"], "online", "{nodes}");
}
