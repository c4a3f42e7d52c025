//! The agent as a process, with state files that a power failure or a person has damaged.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

const DAEMON: &str = env!("CARGO_BIN_EXE_pool-managerd");

/// Every state file of the agent that it reads when it starts.
const FILES: [&str; 4] = [
    "drained-pools.json",
    "n.incarnation",
    "engines/p_r0.7.json",
    "engines/p_r0.asleep",
];

const POOLS: &str = "[[pool]]\nid = \"p\"\nengine = \"x\"\ncommand = [\"sleep\", \"60\"]\n\
     slots = 1\n\
                     port = 1\nsleep_after_secs = 60\n";

struct Agent(Child);

impl Agent {
    fn start(directory: &Path) -> Self {
        let pools = directory.join("pools.toml");
        fs::write(&pools, POOLS).unwrap();
        let child = Command::new(DAEMON)
            .env("POOL_MANAGERD_ADDR", "127.0.0.1:0")
            .env("POOL_MANAGERD_CLOUD_PROFILE", "true")
            .env("POOL_MANAGERD_NODE_ID", "n")
            .env("POOL_MANAGERD_ADDRESS", "http://127.0.0.1:9")
            // A port without a listener.
            .env("ORCHESTRATORD_URL", "http://127.0.0.1:9")
            .env("POOL_MANAGERD_RUNTIME_DIR", directory.join("run"))
            .env("POOL_MANAGERD_STATE_DIR", directory.join("state"))
            .env("POOL_MANAGERD_POOLS_FILE", pools)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It has ended already, unless the test has failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Puts something at a path.
type Put = fn(&Path);

// spec: KEEP-20
#[test]
fn no_damaged_state_file_keeps_the_agent_from_starting() {
    let damages: [(&str, Put); 7] = [
        ("empty", |path| fs::write(path, "").unwrap()),
        ("cut off", |path| {
            fs::write(path, "{\"pools\":[\"p\"],\"pool_id\":\"p").unwrap();
        }),
        ("zeros", |path| fs::write(path, [0; 4096]).unwrap()),
        ("no text", |path| fs::write(path, [0xff; 64]).unwrap()),
        ("of another version", |path| {
            fs::write(path, "{\"version\":9,\"pools\":{\"p\":1}}").unwrap();
        }),
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a socket", |path| drop(UnixListener::bind(path).unwrap())),
    ];
    for (damage, put) in damages {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        fs::create_dir_all(state.join("engines")).unwrap();
        for file in FILES {
            put(&state.join(file));
        }
        let mut agent = Agent::start(directory.path());
        let mut log = BufReader::new(agent.0.stderr.take().unwrap()).lines();
        let mut missing: Vec<&str> = FILES.into();
        let mut listens = false;
        while !missing.is_empty() || !listens {
            let line = log
                .next()
                .unwrap_or_else(|| unreachable!("{damage}: ended before {missing:?}"))
                .unwrap();
            listens |= line.contains("listening on");
            missing.retain(|file| {
                !(line.contains("WARN") && line.contains("is set aside") && line.contains(file))
            });
        }
        for file in FILES {
            let kept = state.join(format!("{file}.unreadable-1"));
            assert!(
                fs::symlink_metadata(&kept).is_ok(),
                "{damage}: {}",
                kept.display()
            );
        }
        kill_process(Pid::from_child(&agent.0), Signal::TERM).unwrap();
        // It writes as long as it runs.
        log.for_each(drop);
        assert_eq!(agent.0.wait().unwrap().code(), Some(0), "{damage}");
    }
}

// spec: KEEP-21
#[test]
fn drains_and_records_that_cannot_be_read_are_named_and_left_alone() {
    for file in ["drained-pools.json", "engines/p_r0.7.json"] {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        fs::create_dir_all(state.join("engines")).unwrap();
        let path = state.join(file);
        // A file that no user can read, not even root.
        symlink(&path, &path).unwrap();
        let mut agent = Agent::start(directory.path());
        let log = BufReader::new(agent.0.stderr.take().unwrap()).lines();
        let said: Vec<String> = log.map(Result::unwrap).collect();
        assert_eq!(agent.0.wait().unwrap().code(), Some(1), "{said:?}");
        assert!(
            said.iter()
                .any(|line| line.contains(path.to_str().unwrap())),
            "{said:?}"
        );
        assert!(fs::symlink_metadata(&path).is_ok());
    }
}
