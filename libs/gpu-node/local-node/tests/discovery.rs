//! Tests of a node with persistent handoffs, and with scans of its machine.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use std::{fs, net::TcpListener, path::Path, time::Duration};

use fake_engine::{FakeEngine, Script};
use local_node::{Node, NodeConfig, ScanConfig, StateDir, WatchConfig};
use pool_registry_types::PoolStatus;
use service_runtime::{Shutdown, Tasks};
use stream_proxy::StreamProxy;

/// A condition that does not hold within this time is a failure.
const LIMIT: Duration = Duration::from_secs(60);

/// A pause between two scans that no test waits for.
const PAUSE: Duration = Duration::from_millis(20);

struct World {
    dir: tempfile::TempDir,
    shutdown: Shutdown,
    tasks: Tasks,
}

impl World {
    fn new() -> Self {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let dir = tempfile::tempdir().unwrap();
        for name in ["runtime", "kept"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self {
            dir,
            shutdown,
            tasks,
        }
    }

    fn node(&self, scan: Option<ScanConfig>) -> Node {
        let config = NodeConfig {
            watch: WatchConfig {
                engines_dir: Some(self.dir.path().join("kept")),
                scan,
                ..WatchConfig::new(self.dir.path().join("runtime"))
            },
            state_dir: StateDir::Optional(self.dir.path().join("state")),
            engines: None,
            data_path: Default::default(),
        };
        Node::start(config, StreamProxy::new(), &self.tasks, &self.shutdown).unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    async fn end(self) {
        self.shutdown.request();
        self.tasks.join(LIMIT).await.unwrap();
    }
}

fn engine() -> FakeEngine {
    let script = Script {
        models: vec!["m".into()],
        slots: 5,
        ..Script::default()
    };
    FakeEngine::start(script).unwrap()
}

fn write(path: &Path, pool: &str, kind: &str, url: &str) {
    let text = format!(
        r#"{{"pool_id":"{pool}","replica_id":"r0","engine":"{kind}","url":"{url}","slots":3}}"#
    );
    let temporary = path.with_extension("new");
    fs::write(&temporary, text).unwrap();
    fs::rename(temporary, path).unwrap();
}

/// Waits until `holds` for the pools of a node.
async fn until(node: &Node, what: &str, holds: impl Fn(&[PoolStatus]) -> bool) {
    let registry = node.registry();
    let mut changes = registry.subscribe();
    let waiting = async {
        while !holds(&registry.statuses()) {
            changes.changed().await.unwrap();
        }
    };
    let waited = tokio::time::timeout(LIMIT, waiting).await;
    assert!(
        waited.is_ok(),
        "waited in vain until {what}: {:?}",
        registry.statuses()
    );
}

fn is_ready(pools: &[PoolStatus], id: &str) -> bool {
    pools
        .iter()
        .any(|pool| pool.pool_id.as_str() == id && pool.ready)
}

fn reason(pools: &[PoolStatus], id: &str) -> String {
    let pool = pools.iter().find(|pool| pool.pool_id.as_str() == id);
    let error = pool.and_then(|pool| pool.last_error.as_deref().map(str::to_owned));
    error.unwrap_or_default()
}

/// A URL where nothing listens.
fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

// spec: FIND-8
#[tokio::test]
async fn a_persistent_handoff_is_ready_after_its_first_good_probe() {
    let world = World::new();
    let (running, url) = (engine(), closed());
    write(&world.path("runtime/a.json"), "runtime", "llamacpp", &url);
    write(&world.path("kept/b.json"), "dead", "llamacpp", &closed());
    write(
        &world.path("kept/c.json"),
        "alive",
        "llamacpp",
        &running.url(),
    );
    let node = world.node(None);
    until(&node, "the engine that runs is ready", |pools| {
        is_ready(pools, "alive")
    })
    .await;
    until(&node, "the dead one has a reason", |pools| {
        reason(pools, "dead").contains("Connection refused")
    })
    .await;
    // It was never ready: nothing but a good probe could have made it so.
    assert!(!is_ready(&node.registry().statuses(), "dead"));
    let registry = node.registry();
    let pool = "dead".parse().unwrap();
    assert!(registry.claim(&pool, None).is_err());
    world.end().await;
}

// spec: FIND-8
#[tokio::test]
async fn a_runtime_handoff_is_trusted_at_once() {
    let world = World::new();
    let node = world.node(None);
    let registry = node.registry().clone();
    let mut changes = registry.subscribe();
    write(
        &world.path("runtime/a.json"),
        "runtime",
        "llamacpp",
        &closed(),
    );
    // The first report of it shows it ready, before any probe has ended.
    while registry.statuses().is_empty() {
        changes.changed().await.unwrap();
    }
    assert!(is_ready(&registry.statuses(), "runtime"));
    world.end().await;
}

// spec: FIND-4
#[tokio::test]
async fn another_kind_of_engine_than_a_persistent_handoff_names_gets_no_requests() {
    let world = World::new();
    let running = engine();
    write(&world.path("kept/a.json"), "p", "vllm", &running.url());
    let node = world.node(None);
    until(&node, "the reason names both kinds", |pools| {
        let reason = reason(pools, "p");
        reason.contains("announced as vllm") && reason.contains("of the kind llamacpp")
    })
    .await;
    assert!(!is_ready(&node.registry().statuses(), "p"));
    write(&world.path("kept/a.json"), "p", "llamacpp", &running.url());
    until(&node, "the corrected handoff counts", |pools| {
        is_ready(pools, "p")
    })
    .await;
    world.end().await;
}

// spec: FIND-9
#[tokio::test]
async fn one_engine_in_both_directories_counts_once() {
    let world = World::new();
    let running = engine();
    write(
        &world.path("kept/a.json"),
        "kept",
        "llamacpp",
        &running.url(),
    );
    let node = world.node(None);
    until(&node, "the persistent one counts", |pools| {
        is_ready(pools, "kept")
    })
    .await;
    write(
        &world.path("runtime/b.json"),
        "new",
        "llamacpp",
        &running.url(),
    );
    until(
        &node,
        "the runtime one counts, and the other is refused",
        |pools| {
            let refused = node.registry().refused();
            let reason = "announces the same replica or the same url";
            let is_refused = refused.iter().any(|file| file.reason().contains(reason));
            is_ready(pools, "new") && pools.len() == 1 && is_refused
        },
    )
    .await;
    fs::remove_file(world.path("runtime/b.json")).unwrap();
    until(&node, "the persistent one counts again", |pools| {
        is_ready(pools, "kept") && pools.len() == 1
    })
    .await;
    world.end().await;
}

// spec: FIND-15
#[tokio::test]
async fn a_scan_offers_an_engine_and_withdraws_it_when_its_port_closes() {
    let world = World::new();
    let running = engine();
    let port = running.url().rsplit(':').next().unwrap().parse().unwrap();
    let node = world.node(Some(ScanConfig {
        interval: PAUSE,
        ports: Some(vec![port]),
    }));
    until(&node, "it is offered", |pools| {
        let pool = pools
            .iter()
            .find(|pool| pool.pool_id.as_str() == "llamacpp");
        pool.is_some_and(|pool| pool.ready && pool.slots_total() == 5)
    })
    .await;
    // A handoff takes precedence, and nothing is counted twice.
    write(
        &world.path("kept/a.json"),
        "kept",
        "llamacpp",
        &running.url(),
    );
    until(&node, "the handoff counts", |pools| {
        is_ready(pools, "kept") && pools.len() == 1
    })
    .await;
    fs::remove_file(world.path("kept/a.json")).unwrap();
    until(&node, "it is offered again", |pools| {
        is_ready(pools, "llamacpp")
    })
    .await;
    drop(running);
    until(&node, "it is withdrawn", <[PoolStatus]>::is_empty).await;
    world.end().await;
}

// spec: FIND-15
#[tokio::test]
async fn without_a_setting_nothing_is_searched() {
    let world = World::new();
    let running = engine();
    let node = world.node(None);
    write(
        &world.path("runtime/a.json"),
        "other",
        "llamacpp",
        &closed(),
    );
    until(&node, "the handoff is known", |pools| !pools.is_empty()).await;
    let requests = running.stats();
    assert_eq!(requests.peak, 0);
    assert_eq!(node.registry().statuses().len(), 1);
    world.end().await;
}
