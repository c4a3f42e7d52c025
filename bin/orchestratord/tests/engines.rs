//! HOME with a pool file: the daemon starts engines, the next one adopts them, and a stop ends
//! them.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use fake_engine::{FakeEngine, Options, Script};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use serde_json::Value;

const DAEMON: &str = env!("CARGO_BIN_EXE_orchestratord");

/// Long for any machine; only a test that fails waits for so long.
const LIMIT: Duration = Duration::from_secs(60);

/// Begins the argument that makes this test an engine: it ends in the port.
const PORT: &str = "engine-on-";

/// This test as an engine of the pool file below. It does nothing when it is run as a test.
#[test]
fn serves_as_an_engine() {
    let port = std::env::args().find_map(|argument| argument.strip_prefix(PORT)?.parse().ok());
    let Some(port) = port else { return };
    let options = Options {
        port,
        ..Options::default()
    };
    let _engine = FakeEngine::start_with(Script::default(), options).unwrap();
    loop {
        thread::park();
    }
}

struct Daemon {
    child: Child,
    addr: SocketAddr,
}

impl Daemon {
    fn start(directory: &Path) -> Self {
        let mut child = Command::new(DAEMON)
            .env("ORCHESTRATORD_ADDR", "127.0.0.1:0")
            .env("ORCHESTRATORD_POOLS_FILE", "pools.toml")
            .env_remove("RUST_LOG")
            .current_dir(directory)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = log
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains("listening on "));
        let addr = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        // It writes as long as it runs.
        thread::spawn(move || log.for_each(drop));
        Self { child, addr }
    }

    /// The status and the body of an answer.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// Asks until the engine serves.
    #[expect(
        clippy::disallowed_methods,
        reason = "it waits for a process, in real time"
    )]
    fn until_served(&self) {
        let start = Instant::now();
        loop {
            let chat = r#"{"model":"tiny","messages":[]}"#;
            let (status, body) = self.ask("POST", "/v1/chat/completions", chat);
            if status == 200 {
                return;
            }
            assert!(start.elapsed() < LIMIT, "not served: {status} {body}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The one engine that the daemon remembers.
fn engine(directory: &Path) -> Option<Pid> {
    let record = fs::read_dir(directory.join(".runtime/state/engines"))
        .ok()?
        .flatten()
        .find(|entry| entry.path().extension().is_some_and(|kind| kind == "json"))?;
    let record: Value = serde_json::from_slice(&fs::read(record.path()).ok()?).ok()?;
    Pid::from_raw(record["pid"].as_i64()?.try_into().ok()?)
}

/// Whether a process is gone, or has ended and its exit code is not yet read: its parent
/// was killed.
fn has_ended(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.map_or(true, |stat| {
        // The name in parentheses may contain anything.
        stat.rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with('Z'))
    })
}

/// Ends what a test that failed has left.
struct Engines<'a>(&'a Path);

impl Drop for Engines<'_> {
    fn drop(&mut self) {
        if let Some(group) = engine(self.0) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

// spec: PROV-40, PROV-41, STOP-20, CLOUD-12105
#[test]
fn engines_of_a_pool_file_are_started_adopted_and_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let engines = Engines(directory.path());
    let this = std::env::current_exe().unwrap();
    let this = this.to_str().unwrap();
    let pools = format!(
        "[[pool]]\nid = \"p\"\nengine = \"llamacpp\"\nslots = 4\nmodels = [\"tiny\"]\n\
         command = [{this:?}, \"--exact\", \"serves_as_an_engine\", \"{PORT}{{port}}\"]\n"
    );
    fs::write(directory.path().join("pools.toml"), pools).unwrap();
    let mut first = Daemon::start(directory.path());
    first.until_served();
    let started = engine(directory.path()).unwrap();

    // As the node of every control plane, it is seen and steered.
    let (_, nodes) = first.ask("GET", "/v2/nodes", "");
    let nodes: Value = serde_json::from_str(&nodes).unwrap();
    let node = &nodes["nodes"][0];
    assert_eq!(
        (&node["status"], nodes["nodes"].as_array().unwrap().len()),
        (&"online".into(), 1)
    );
    let path = format!(
        "/v2/pools/{}/p/replicas/r0/drain",
        node["node_id"].as_str().unwrap()
    );
    assert_eq!(first.ask("POST", &path, "").0, 200);
    assert_eq!(
        first.ask("POST", &path.replace("drain", "undrain"), "").0,
        200
    );
    first.until_served();

    first.signal(Signal::KILL);
    first.child.wait().unwrap();
    let mut second = Daemon::start(directory.path());
    second.until_served();
    assert_eq!(engine(directory.path()), Some(started), "it was adopted");
    test_kill_process(started).unwrap();

    second.signal(Signal::TERM);
    assert_eq!(second.child.wait().unwrap().code(), Some(0));
    assert!(
        engine(directory.path()).is_none(),
        "nothing is left to adopt"
    );
    assert!(has_ended(started), "the engine runs on");
    drop(engines);
}
