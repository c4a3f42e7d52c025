//! Spans over OTLP, of the daemon as a process: to a collector that keeps what it is sent. Only with the feature `otlp`.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use fake_engine::{FakeEngine, Script};
use rustix::process::{Pid, Signal, kill_process};

const DAEMON: &str = env!("CARGO_BIN_EXE_orchestratord");
/// Found in no span, or something is wrong.
const PROMPT: &str = "canary-prompt-4711";
const TOKEN: &str = "canary-token-4711";
/// Long for any machine; only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request that was received: its head, and its body.
type Received = (String, Vec<u8>);

/// Listens as a collector does, and says yes to everything.
fn collector() -> (SocketAddr, mpsc::Receiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).unwrap() > 0, "half a head: {head}");
            }
            let head = head.to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length = length.split("\r\n").next().unwrap().parse().unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            reader.get_mut().write_all(answer).unwrap();
            if sender.send((head, body)).is_err() {
                return;
            }
        }
    });
    (addr, received)
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already, unless the test has failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a chat request of a trace, and returns the whole answer.
fn chat(addr: SocketAddr, trace: &str) -> String {
    let body =
        format!(r#"{{"model":"tiny","stream":true,"messages":[{{"role":"user","content":"{PROMPT}"}}]}}"#);
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-type: application/json\r\n\
         authorization: Bearer {TOKEN}\r\ntraceparent: {trace}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn has(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

// spec: SEE-20
#[test]
fn the_spans_of_a_request_are_exported_and_a_stop_sends_the_last() {
    let (collector, received) = collector();
    let engine = FakeEngine::start(Script::default()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let handoff = format!(
        r#"{{"pool_id":"pool-0","replica_id":"r0","engine":"llamacpp","url":"{}","slots":2,"models":["tiny"]}}"#,
        engine.url()
    );
    std::fs::write(directory.path().join("pool-0_r0.json"), handoff).unwrap();
    let child = Command::new(DAEMON)
        .env("ORCHESTRATORD_ADDR", "127.0.0.1:0")
        .env("ORCHESTRATORD_RUNTIME_DIR", directory.path())
        .env("LLORCH_API_TOKEN", TOKEN)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"))
        // Longer than any test: what arrives was sent by the stop.
        .env("OTEL_BSP_SCHEDULE_DELAY", "600000")
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut daemon = Daemon(child);
    let mut log = BufReader::new(daemon.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening on ") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
    }
    let addr = line.rsplit(' ').next().unwrap().trim().parse().unwrap();
    // Until the engine is known, each request is of a trace that nobody asks for below.
    while !chat(addr, "00-11111111111111111111111111111111-1111111111111111-01").contains("[DONE]") {}
    let answer = chat(addr, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert!(answer.contains("[DONE]"), "{answer}");
    let seen = engine.records().pop().unwrap();
    kill_process(Pid::from_child(&daemon.0), Signal::TERM).unwrap();
    assert_eq!(daemon.0.wait().unwrap().code(), Some(0));

    let mut all = Vec::new();
    let (head, body) = received.recv_timeout(PATIENCE).unwrap();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    all.extend(body);
    // More than one batch may have come.
    all.extend(received.try_iter().flat_map(|(_, body)| body));
    for name in [
        "orchestratord",
        "request",
        "admission",
        "placement",
        "dispatch",
        "stream",
        "request_id",
        "served",
    ] {
        assert!(has(&all, name.as_bytes()), "{name} is missing");
    }
    let (trace, theirs) = (
        0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128,
        0x00f0_67aa_0ba9_02b7_u64,
    );
    assert!(has(&all, &trace.to_be_bytes()) && has(&all, &theirs.to_be_bytes()));
    // What the engine was told is a step after a span that was exported.
    let onward = seen.header("traceparent").unwrap();
    let parts: Vec<&str> = onward.split('-').collect();
    assert_eq!(parts[1], "4bf92f3577b34da6a3ce929d0e0e4736");
    let step = u64::from_str_radix(parts[2], 16).unwrap();
    assert!(has(&all, &step.to_be_bytes()), "{onward}");
    for secret in [PROMPT, TOKEN, "three", "sixteen"] {
        assert!(!has(&all, secret.as_bytes()), "{secret} is in a span");
    }
}

// spec: SEE-20
#[test]
fn an_endpoint_that_spans_cannot_be_sent_to_is_a_bad_setting() {
    let output = Command::new(DAEMON)
        .env("ORCHESTRATORD_ADDR", "127.0.0.1:0")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(
        said.contains("OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as http://"),
        "{said}"
    );
}
