//! A node in a temporary directory: a pool file, a provisioner, and a registry of its handoffs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use engine_provisioner::{
    EnginePhase, EngineStatus, PoolFile, Prepared, Provisioner, ProvisionerConfig,
};
use local_node::LocalNode;
use pool_registry::PoolRegistry;
use pool_registry_types::{PoolId, ReplicaStatus};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use service_runtime::{Shutdown, Tasks};

/// An engine that answers.
pub(crate) const ENGINE: &str = env!("CARGO_BIN_EXE_engine-provisioner-test-engine");

/// Much longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// The files of a node. Dropping it kills every engine that still has a record.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The names of the files in one of its directories.
    pub(crate) fn files(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(dir)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn handoffs(&self) -> Vec<String> {
        self.files("handoffs")
    }

    /// Starts an agent here.
    pub(crate) fn start(&self, pools: &str) -> Node {
        Node::start(self, pools)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let Ok(records) = std::fs::read_dir(self.path("state/engines")) else {
            return;
        };
        for record in records.flatten() {
            let bytes = std::fs::read(record.path()).unwrap_or_default();
            let record: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let pid = record["pid"]
                .as_i64()
                .and_then(|pid| i32::try_from(pid).ok());
            if let Some(group) = pid.and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
        }
    }
}

/// The parts of an agent that concern engines.
pub(crate) struct Node {
    pub(crate) provisioner: Provisioner,
    pub(crate) registry: PoolRegistry,
    tasks: Tasks,
    shutdown: Shutdown,
    _local: LocalNode,
}

impl Node {
    fn start(home: &Home, pools: &str) -> Self {
        let file = PoolFile::parse(pools).unwrap_or_else(|problems| panic!("{problems}"));
        let config = ProvisionerConfig::new(home.path("handoffs"), home.path("state"));
        let prepared = Prepared::new(config, file).unwrap();
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let watched = local_node::WatchConfig {
            watch_interval: Duration::from_millis(50),
            ..local_node::WatchConfig::new(home.path("handoffs"))
        };
        let local = LocalNode::start(watched, &tasks, &shutdown).unwrap();
        let registry = local.registry().clone();
        let provisioner = prepared.start(registry.clone(), Arc::new(|_| None), &tasks, &shutdown);
        Self {
            provisioner,
            registry,
            tasks,
            shutdown,
            _local: local,
        }
    }

    /// Waits until `so` holds for the engines, and returns them.
    pub(crate) async fn until(&self, so: impl Fn(&[EngineStatus]) -> bool) -> Arc<[EngineStatus]> {
        let mut rows = self.provisioner.status();
        let waited = tokio::time::timeout(DEADLINE, rows.wait_for(|rows| so(rows))).await;
        if let Ok(found) = waited {
            return found.unwrap().clone();
        }
        panic!("waited in vain: {:#?}", self.provisioner.status().borrow());
    }

    /// Waits until the one engine of the node is in this phase.
    pub(crate) async fn one(&self, phase: EnginePhase) -> EngineStatus {
        self.until(|rows| rows.len() == 1 && rows[0].phase == phase)
            .await[0]
            .clone()
    }

    pub(crate) async fn ready(&self, engines: usize) -> Arc<[EngineStatus]> {
        self.until(|rows| {
            rows.len() == engines && rows.iter().all(|row| row.phase == EnginePhase::Ready)
        })
        .await
    }

    /// Waits until `so` holds for the replicas of pool `p` in the registry.
    pub(crate) async fn replicas(
        &self,
        so: impl Fn(&[ReplicaStatus]) -> bool,
    ) -> Vec<ReplicaStatus> {
        let mut changes = self.registry.subscribe();
        let waiting = async {
            loop {
                changes.borrow_and_update();
                let status =
                    (self.registry.statuses().into_iter()).find(|pool| pool.pool_id == pool_p());
                let replicas = status.and_then(|pool| pool.replicas).unwrap_or_default();
                if so(&replicas) {
                    return replicas;
                }
                changes.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(DEADLINE, waiting).await;
        waited.unwrap_or_else(|_| panic!("waited in vain: {:#?}", self.registry.statuses()))
    }

    /// Stops all engines, then the agent.
    pub(crate) async fn stop(self) {
        tokio::time::timeout(DEADLINE, self.provisioner.stop_all())
            .await
            .unwrap();
        self.vanish().await;
    }

    /// As [`stop`](Self::stop), with a pause between the end of the engines and that of the agent.
    pub(crate) async fn stop_slowly(self) {
        let Self {
            provisioner,
            tasks,
            shutdown,
            _local: local,
            ..
        } = self;
        tokio::time::timeout(DEADLINE, provisioner.stop_all())
            .await
            .unwrap();
        drop(provisioner);
        // Give the supervising tasks time to react.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        shutdown.request();
        tasks.join(DEADLINE).await.unwrap();
        drop(local);
    }

    /// Ends the agent but not its engines, as SIGKILL would.
    pub(crate) async fn vanish(self) {
        self.shutdown.request();
        self.tasks.join(DEADLINE).await.unwrap();
    }
}

pub(crate) fn pool_p() -> PoolId {
    PoolId::new("p").unwrap()
}

/// A pool `p` of engines that work.
pub(crate) fn pool(more: &str) -> String {
    command(&[ENGINE, "{port}"], more)
}

/// A pool `p` whose engines a shell starts: `$0` is the engine, `$1` its port.
pub(crate) fn shell(script: &str, more: &str) -> String {
    command(&["/bin/sh", "-c", script, ENGINE, "{port}"], more)
}

fn command(command: &[&str], more: &str) -> String {
    let command = serde_json::to_string(command).unwrap();
    format!(
        "[[pool]]\nid = \"p\"\nengine = \"test\"\nslots = 2\nstop_grace_secs = 10\n\
         command = {command}\n{more}\n"
    )
}

/// Whether a process with this id exists, zombies included.
pub(crate) fn is_there(pid: u32) -> bool {
    test_kill_process(raw(pid)).is_ok()
}

/// Waits until it no longer exists.
pub(crate) async fn gone(pid: u32) {
    until(&format!("process {pid} is gone"), || !is_there(pid)).await;
}

pub(crate) fn kill(pid: u32) {
    kill_process(raw(pid), Signal::KILL).unwrap();
}

pub(crate) fn raw(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// Waits for a condition that has no signal.
pub(crate) async fn until(what: &str, so: impl Fn() -> bool) {
    let looking = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, looking).await;
    waited.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The number in a file, once it has been written.
pub(crate) async fn number_in(path: &Path) -> u32 {
    let read = || {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .parse()
            .ok()
    };
    until(&format!("a number in {}", path.display()), || {
        read().is_some()
    })
    .await;
    read().unwrap()
}
