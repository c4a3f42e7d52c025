//! HOME with a pool file: the daemon starts engines, the next one adopts them, and a stop ends
//! them.

use std::{fs, path::Path, thread};

use daemon_process::DaemonProcess;
use fake_engine::{FakeEngine, Options, Script};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};
use serde_json::{Value, json};

/// A request waits for its engine on a machine of any speed.
const SETTINGS: [(&str, &str); 3] = [
    ("ORCHESTRATORD_ADDR", "127.0.0.1:0"),
    ("ORCHESTRATORD_POOLS_FILE", "pools.toml"),
    ("ORCHESTRATORD_QUEUE_WAIT_MS", "240000"),
];

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

/// Starts the daemon, and returns when its pool is ready.
fn start(directory: &Path) -> DaemonProcess {
    let program = env!("CARGO_BIN_EXE_orchestratord");
    let daemon = DaemonProcess::start(daemon_process::command(program, directory, &SETTINGS));
    daemon.await_event("/v2/events", "pool_ready");
    daemon
}

/// Sends a request, which waits until the engine can serve it.
fn chat(daemon: &DaemonProcess) {
    let request = json!({"model": "tiny", "messages": []});
    let (status, answer) = daemon.post("/v1/chat/completions", &request);
    assert_eq!(status, 200, "{answer}");
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
    let first = start(directory.path());
    chat(&first);
    let started = engine(directory.path()).unwrap();

    // As the node of every control plane, it is seen and steered.
    let (_, nodes) = first.get("/v2/nodes");
    let node = &nodes["nodes"][0];
    assert_eq!(
        (&node["status"], nodes["nodes"].as_array().unwrap().len()),
        (&"online".into(), 1)
    );
    let replica = format!(
        "/v2/pools/{}/p/replicas/r0",
        node["node_id"].as_str().unwrap()
    );
    for change in ["drain", "undrain"] {
        let (status, answer) = first.post(&format!("{replica}/{change}"), &json!({}));
        assert_eq!(status, 200, "{change}: {answer}");
    }
    chat(&first);

    first.kill();
    let second = start(directory.path());
    chat(&second);
    assert_eq!(engine(directory.path()), Some(started), "it was adopted");
    test_kill_process(started).unwrap();

    assert_eq!(second.terminate(), Some(0));
    assert!(
        engine(directory.path()).is_none(),
        "nothing is left to adopt"
    );
    assert!(has_ended(started), "the engine runs on");
    drop(engines);
}
