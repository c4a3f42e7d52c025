//! Tests of a node in the process of its control plane: handoffs, reports, drains, directories.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use std::{path::Path, sync::Arc, time::Duration};

use fake_engine::{FakeEngine, Script};
use local_node::{
    InProcessAgent, Node, NodeConfig, NodeError, NodeIdentity, Registrar, RegistrarError, StateDir,
    WatchConfig,
};
use pool_registry::DrainTarget;
use pool_registry_types::{
    HeartbeatRequest, HttpUrl, MAX_REPLICAS, MachineId, NodeId, PoolId, PoolStatus,
    RegisterRequest, ReplicaId,
};
use service_runtime::{Readiness, Shutdown, Tasks};
use stream_proxy::StreamProxy;
use tokio::sync::watch;

/// A condition that does not hold within this time is a failure.
const LIMIT: Duration = Duration::from_secs(60);

/// A control plane that records registrations and heartbeats.
#[derive(Debug)]
struct RecordingRegistrar {
    registered: watch::Sender<Vec<RegisterRequest>>,
    reported: watch::Sender<Option<HeartbeatRequest>>,
    /// The last incarnation that it knows.
    known: u64,
}

impl RecordingRegistrar {
    fn new(known: u64) -> Arc<Self> {
        Arc::new(Self {
            registered: watch::Sender::default(),
            reported: watch::Sender::default(),
            known,
        })
    }

    /// Waits until `holds` is true for a report.
    async fn until(&self, what: &str, holds: impl Fn(&[PoolStatus]) -> bool) {
        let mut reported = self.reported.subscribe();
        let waited =
            reported.wait_for(|report| report.as_ref().is_some_and(|report| holds(&report.pools)));
        let waited = tokio::time::timeout(LIMIT, waited).await.map(drop);
        assert!(
            waited.is_ok(),
            "waited in vain until {what}: {:?}",
            self.reported.borrow()
        );
    }
}

impl Registrar for RecordingRegistrar {
    fn register(&self, request: RegisterRequest) -> Result<Duration, RegistrarError> {
        if request.incarnation <= Some(self.known) {
            return Err(RegistrarError::Stale { known: self.known });
        }
        self.registered.send_modify(|all| all.push(request));
        Ok(LIMIT)
    }

    fn report(&self, _: &NodeId, request: HeartbeatRequest) -> Result<Duration, RegistrarError> {
        let registered = self.registered.borrow();
        let last = registered.last().ok_or(RegistrarError::Unknown)?;
        assert_eq!(last.incarnation, request.incarnation);
        drop(registered);
        self.reported.send_replace(Some(request));
        // Changes are reported at once, so no test waits for this.
        Ok(LIMIT * 60)
    }
}

/// Waits until `holds`; the registry has no signal for refusals.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let polling = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(LIMIT, polling).await;
    assert!(waited.is_ok(), "waited in vain until {what}");
}

fn write(dir: &Path, name: &str, json: &str) {
    let temporary = dir.join(".new");
    std::fs::write(&temporary, json).unwrap();
    std::fs::rename(temporary, dir.join(name)).unwrap();
}

fn config(dir: &Path) -> NodeConfig {
    NodeConfig {
        watch: WatchConfig::new(dir.join("engines")),
        state_dir: StateDir::Optional(dir.join("state")),
        engines: None,
        data_path: Default::default(),
    }
}

fn agent(node: &Node, registrar: &Arc<RecordingRegistrar>) -> InProcessAgent {
    let identity = NodeIdentity {
        node_id: NodeId::new("home").unwrap(),
        machine_id: MachineId::new("home").unwrap(),
        address: HttpUrl::new("http://127.0.0.1:8080").unwrap(),
        metrics_address: None,
        version: "1.2.3",
    };
    InProcessAgent::new(node.local().unwrap().clone(), identity, registrar.clone())
}

struct World {
    shutdown: Shutdown,
    tasks: Tasks,
}

impl World {
    fn new() -> Self {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        Self { shutdown, tasks }
    }

    fn node(&self, config: NodeConfig) -> Result<Node, NodeError> {
        Node::start(config, StreamProxy::new(), &self.tasks, &self.shutdown)
    }

    async fn end(self) {
        self.shutdown.request();
        self.tasks.join(LIMIT).await.unwrap();
    }
}

// spec: CLOUD-3001, CLOUD-3002, CLOUD-12100
#[tokio::test]
async fn handoffs_come_and_go() {
    let engine = FakeEngine::start(Script {
        models: vec!["m".into()],
        slots: 5,
        ..Script::default()
    })
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let runtime_dir = dir.path().join("engines");
    let world = World::new();
    let node = world.node(config(dir.path())).unwrap();
    let registrar = RecordingRegistrar::new(0);
    let readiness = Readiness::new();
    let run = agent(&node, &registrar).run(readiness.latch("handoffs"), world.shutdown.clone());
    world.tasks.spawn("agent", run);

    let handoff = format!(
        r#"{{"pool_id":"p","replica_id":"r0","engine":"llamacpp","url":"{}","slots":3}}"#,
        engine.url()
    );
    write(&runtime_dir, "p_r0.json", &handoff);
    // The handoff names no models, so the engine is asked.
    registrar
        .until("the engine has named its models", |pools| {
            pools.iter().any(|pool| {
                pool.models_available.as_deref() == Some(&["m".parse().unwrap()])
                    && pool.ready
                    && pool.slots_total() == 3
            })
        })
        .await;
    let registered = registrar.registered.borrow()[0].clone();
    assert!(registered.takes_replica_hint && registered.version.as_deref() == Some("1.2.3"));

    write(&runtime_dir, "p_r1.json", "{\"pool_id\":");
    write(
        &runtime_dir,
        "p_r0.json",
        &handoff.replace("\"slots\":3", "\"slots\":5"),
    );
    registrar
        .until("the new slots count", |pools| {
            pools.iter().any(|pool| pool.slots_total() == 5)
        })
        .await;

    std::fs::remove_file(runtime_dir.join("p_r0.json")).unwrap();
    registrar
        .until("the pool is gone", <[PoolStatus]>::is_empty)
        .await;
    world.end().await;
}

// spec: CLOUD-12101
#[tokio::test]
async fn it_is_ready_when_the_control_plane_knows_every_engine_that_was_announced() {
    let dir = tempfile::tempdir().unwrap();
    let runtime_dir = dir.path().join("engines");
    std::fs::create_dir_all(&runtime_dir).unwrap();
    let handoff = r#"{"pool_id":"p","replica_id":"r0","engine":"x","url":"http://127.0.0.1:1",
        "slots":3,"models":["m"]}"#;
    write(&runtime_dir, "p_r0.json", handoff);
    let world = World::new();
    let node = world.node(config(dir.path())).unwrap();
    let registrar = RecordingRegistrar::new(0);
    let readiness = Readiness::new();
    let run = agent(&node, &registrar).run(readiness.latch("handoffs"), world.shutdown.clone());
    world.tasks.spawn("agent", run);
    let mut reports = registrar.reported.subscribe();
    while !readiness.pending().is_empty() {
        tokio::time::timeout(Duration::from_millis(1), reports.changed())
            .await
            .ok();
    }
    let report = registrar.reported.borrow().clone().unwrap();
    assert_eq!(report.pools[0].slots_total(), 3);
    world.end().await;
}

// spec: CLOUD-12102
#[tokio::test]
async fn a_node_joins_although_the_clock_was_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new();
    let node = world.node(config(dir.path())).unwrap();
    let later = 1 << 60;
    let registrar = RecordingRegistrar::new(later);
    let run =
        agent(&node, &registrar).run(Readiness::new().latch("handoffs"), world.shutdown.clone());
    world.tasks.spawn("agent", run);
    registrar.until("it reports", |_| true).await;
    assert_eq!(
        registrar.registered.borrow()[0].incarnation,
        Some(later + 1)
    );
    world.end().await;
}

// spec: CLOUD-12103
#[tokio::test]
async fn a_drain_is_reported_at_once_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let runtime_dir = dir.path().join("engines");
    std::fs::create_dir_all(&runtime_dir).unwrap();
    let handoff = r#"{"pool_id":"p","replica_id":"r0","engine":"x","url":"http://127.0.0.1:1",
        "slots":3,"models":["m"]}"#;
    write(&runtime_dir, "p_r0.json", handoff);
    let is_drained = |pools: &[PoolStatus]| {
        let replicas = pools.iter().flat_map(|pool| pool.replicas.iter().flatten());
        replicas.map(|replica| replica.draining).collect::<Vec<_>>() == [true]
    };
    for start in ["first", "second"] {
        let world = World::new();
        let node = world.node(config(dir.path())).unwrap();
        let registrar = RecordingRegistrar::new(0);
        let run = agent(&node, &registrar)
            .run(Readiness::new().latch("handoffs"), world.shutdown.clone());
        world.tasks.spawn("agent", run);
        if start == "first" {
            registrar
                .until("the replica is there", |pools| !pools.is_empty())
                .await;
            let (status, _) = node
                .control()
                .post("/v2/pools/p/replicas/r0/drain", Default::default())
                .await;
            assert_eq!(status.as_u16(), 200);
        }
        registrar.until("the drain is reported", is_drained).await;
        world.end().await;
    }
    let world = World::new();
    let node = world.node(config(dir.path())).unwrap();
    let target = DrainTarget::Replica(PoolId::new("p").unwrap(), ReplicaId::new("r0").unwrap());
    node.registry().undrain(&target).unwrap();
    world.end().await;
}

// spec: HAND-18
#[tokio::test]
async fn a_handoff_that_leads_to_this_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let runtime_dir = dir.path().join("engines");
    std::fs::create_dir_all(&runtime_dir).unwrap();
    let handoff = |id: &str, port: u16| {
        let json = serde_json::json!({
            "pool_id": "p", "replica_id": id, "engine": "x", "slots": 3, "models": ["m"],
            "url": format!("http://localhost:{port}"),
        });
        write(&runtime_dir, &format!("{id}.json"), &json.to_string());
    };
    handoff("itself", 8080);
    handoff("engine", 8081);
    let mut config = config(dir.path());
    config.watch.own_addresses = vec!["127.0.0.1:8080".parse().unwrap()];
    let world = World::new();
    let node = world.node(config).unwrap();
    let registrar = RecordingRegistrar::new(0);
    let run =
        agent(&node, &registrar).run(Readiness::new().latch("handoffs"), world.shutdown.clone());
    world.tasks.spawn("agent", run);
    registrar
        .until("the engine is reported", |pools| {
            pools.iter().any(|pool| pool.slots_total() == 3)
        })
        .await;
    // The files come in any order.
    until("the other is refused", || {
        !node.registry().refused().is_empty()
    })
    .await;
    let replicas = node.registry().replicas();
    assert_eq!(replicas.len(), 1, "{replicas:?}");
    let refused = node.registry().refused();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(
        refused[0].file().ends_with("engines/itself.json"),
        "{refused:?}"
    );
    assert!(
        refused[0].reason().contains("not to this process"),
        "{refused:?}"
    );
    world.end().await;
}

// spec: HAND-19
#[tokio::test]
async fn a_handoff_that_the_registry_refuses_is_listed_with_its_own_file() {
    let dir = tempfile::tempdir().unwrap();
    let runtime_dir = dir.path().join("engines");
    std::fs::create_dir_all(&runtime_dir).unwrap();
    let write_replica = |index: usize| {
        let port = 1000 + index;
        let handoff = format!(
            r#"{{"pool_id":"p","replica_id":"r{index:04}","engine":"x",
                "url":"http://localhost:{port}","slots":1}}"#
        );
        write(&runtime_dir, &format!("file-{index:04}.json"), &handoff);
    };
    (0..MAX_REPLICAS).for_each(&write_replica);
    let world = World::new();
    let node = world.node(config(dir.path())).unwrap();
    let registry = node.registry().clone();
    until("all replicas are known", || {
        registry.replicas().len() == MAX_REPLICAS
    })
    .await;
    write_replica(MAX_REPLICAS);
    until("the handoff is refused", || !registry.refused().is_empty()).await;
    let name = format!("file-{MAX_REPLICAS:04}.json");
    assert!(
        registry.refused()[0].file().ends_with(&name),
        "{:?}",
        registry.refused()
    );
    std::fs::remove_file(runtime_dir.join(name)).unwrap();
    until("the refusal is cleared", || registry.refused().is_empty()).await;
    world.end().await;
}

// spec: CONF-20
#[tokio::test]
async fn two_nodes_do_not_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new();
    let first = world.node(config(dir.path())).unwrap();
    for (runtime, state) in [("engines", "other"), ("other", "state")] {
        let refused = world.node(NodeConfig {
            watch: WatchConfig::new(dir.path().join(runtime)),
            state_dir: StateDir::Required(dir.path().join(state)),
            ..config(dir.path())
        });
        let text = refused.unwrap_err().to_string();
        let pid = format!("process {}", std::process::id());
        assert!(text.contains(&pid), "{text}");
    }
    drop(first);
    world.node(config(dir.path())).unwrap();
    world.end().await;
}

// spec: CONF-22
#[tokio::test]
async fn a_state_directory_that_cannot_be_made_is_a_warning_where_it_is_optional() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let world = World::new();
    let below_a_file = dir.path().join("file/state");
    let optional = NodeConfig {
        state_dir: StateDir::Optional(below_a_file.clone()),
        ..config(dir.path())
    };
    drop(world.node(optional).unwrap());
    let required = NodeConfig {
        state_dir: StateDir::Required(below_a_file),
        ..config(dir.path())
    };
    let refused = world.node(required).unwrap_err();
    assert!(
        matches!(refused, NodeError::StateDirectory { .. }),
        "{refused}"
    );
    world.end().await;
}
