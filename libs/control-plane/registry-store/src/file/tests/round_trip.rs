//! What is written can be read: for every state that the API can make, in every store.

use std::{collections::BTreeSet, time::Duration};

use pool_registry_types::{HeartbeatRequest, NodeId, PoolId, RegisterRequest, limits::MAX_POOLS};
use proptest::prelude::*;
use serde_json::{Value, json};
use service_registry::{Config, Registry, Target};

use super::{disk::Disk, *};
use crate::MemoryStore;

const NODES: [&str; 3] = ["a", "b", "c"];

/// What comes to the control plane, as it comes.
#[derive(Debug, Clone)]
enum Call {
    Register {
        node: usize,
        incarnation: Option<u64>,
        pools: Vec<String>,
        odd: bool,
    },
    Heartbeat {
        node: usize,
        incarnation: Option<u64>,
        pools: Vec<String>,
        odd: bool,
    },
    Drain {
        node: usize,
        pool: Option<String>,
        deadline_ms: Option<u64>,
    },
    Undrain {
        node: usize,
        pool: Option<String>,
    },
    Deregister {
        node: usize,
        incarnation: Option<u64>,
    },
    /// Time passes, so that nodes fall silent and are forgotten.
    Wait(u64),
    /// The control plane is started anew.
    Restart,
}

/// Names of pools, some of them as many as there may be, so that each life of a node may bring
/// others.
fn pools() -> impl Strategy<Value = Vec<String>> {
    let named = |from: usize, count: usize| (from..from + count).map(|i| format!("p{i}")).collect();
    prop_oneof![
        4 => (0..4_usize, 0..3_usize).prop_map(move |(from, count)| named(from, count)),
        2 => (0..3_usize).prop_map(move |nth| named(nth * MAX_POOLS, MAX_POOLS)),
    ]
}

fn pool() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop_oneof![0..4_usize, 0..3 * MAX_POOLS].prop_map(|i| format!("p{i}")))
}

fn call() -> impl Strategy<Value = Call> {
    let node = || 0..NODES.len();
    let incarnation = || prop::option::of(1..5_u64);
    let ms = prop_oneof![0..100_000_u64, Just(u64::MAX)];
    prop_oneof![
        4 => (node(), incarnation(), pools(), any::<bool>())
            .prop_map(|(node, incarnation, pools, odd)| Call::Register { node, incarnation, pools,
                odd }),
        4 => (node(), incarnation(), pools(), any::<bool>())
            .prop_map(|(node, incarnation, pools, odd)| Call::Heartbeat { node, incarnation, pools,
                odd }),
        4 => (node(), pool(), prop::option::of(ms))
            .prop_map(|(node, pool, deadline_ms)| Call::Drain { node, pool, deadline_ms }),
        1 => (node(), pool()).prop_map(|(node, pool)| Call::Undrain { node, pool }),
        1 => (node(), incarnation()).prop_map(|(node, incarnation)| Call::Deregister { node,
            incarnation }),
        1 => prop_oneof![0..40_u64, Just(24 * 60 * 60)].prop_map(Call::Wait),
        1 => Just(Call::Restart),
    ]
}

/// A text that no terminal should see, where `odd`.
fn text(odd: bool) -> String {
    let text = if odd {
        "\u{1b}[31m\n".repeat(50)
    } else {
        "v1".to_owned()
    };
    format!("{text}\"")
}

fn registration(node: &str, incarnation: Option<u64>, pools: &[String], odd: bool) -> Value {
    json!({
        "node_id": node, "machine_id": "m", "address": format!("HTTP://{node}:9200/Base/"),
            "pools": pools,
        "incarnation": incarnation, "version": text(odd), "metrics_address": "http://[::1]:1",
            "takes_replica_hint": odd,
        "capabilities": {"gpus": [{"device_id": 0, "name": text(odd),
            "vram_total_bytes": u64::MAX}],
                         "cpu_cores": u32::MAX, "ram_total_bytes": u64::MAX},
    })
}

fn heartbeat(incarnation: Option<u64>, pools: &[String], odd: bool) -> Value {
    let pool = |pool_id: &String| {
        json!({
            "pool_id": pool_id, "ready": !odd, "draining": false, "slots_free": 1,
                "slots_total": 65_536,
            "vram_free_bytes": u64::MAX, "engine_version": text(odd), "last_error": text(odd),
            "device_mask": text(odd), "models_available": ["tiny", "\u{202e}\""], "sleeping": odd,
            "replicas": [{"replica_id": "r0", "ready": true, "slots_free": 0, "slots_total": 1,
                "running": 7,
                          "slots_promised": u32::MAX, "generation": u64::MAX, "models": ["tiny"],
                              "last_error": text(odd)}],
        })
    };
    let pools: Vec<Value> = pools.iter().map(pool).collect();
    json!({"timestamp": text(odd), "pools": pools, "incarnation": incarnation})
}

/// A registry, and two stores that get its changes.
struct World {
    registry: Registry,
    now: Duration,
    disk: Disk,
    file: FileStore,
    memory: MemoryStore,
}

impl World {
    fn new() -> Self {
        let disk = Disk::default();
        Self {
            registry: Registry::new(Config::default()),
            now: Duration::ZERO,
            file: disk.store().unwrap(),
            disk,
            memory: MemoryStore::default(),
        }
    }

    /// Refusals are as good as anything: they change nothing.
    fn apply(&mut self, call: Call) {
        let now = self.now;
        let id = |node: usize| NodeId::new(NODES[node]).unwrap();
        let target = |node, pool: Option<String>| match pool {
            None => Target::Node(id(node)),
            Some(pool) => Target::Pool(id(node), PoolId::new(&pool).unwrap()),
        };
        match call {
            Call::Register {
                node,
                incarnation,
                pools,
                odd,
            } => {
                let request = registration(NODES[node], incarnation, &pools, odd);
                let request: RegisterRequest = serde_json::from_value(request).unwrap();
                let _ = self.registry.register(request, now);
            }
            Call::Heartbeat {
                node,
                incarnation,
                pools,
                odd,
            } => {
                let request = heartbeat(incarnation, &pools, odd);
                let request: HeartbeatRequest = serde_json::from_value(request).unwrap();
                let _ = self.registry.heartbeat(&id(node), request, now);
            }
            Call::Drain {
                node,
                pool,
                deadline_ms,
            } => {
                let deadline = deadline_ms.map(|ms| now.saturating_add(Duration::from_millis(ms)));
                let _ = self.registry.drain(&target(node, pool), deadline, now);
            }
            Call::Undrain { node, pool } => {
                let _ = self.registry.undrain(&target(node, pool), now);
            }
            Call::Deregister { node, incarnation } => {
                let _ = self.registry.deregister(&id(node), incarnation, now);
            }
            Call::Wait(seconds) => {
                let then = now + Duration::from_secs(seconds);
                while let Some(due) = self.registry.next_deadline().filter(|due| *due < then) {
                    self.registry.tick(due);
                }
                self.registry.tick(then);
                self.now = then;
            }
            Call::Restart => {
                let at = UNIX_EPOCH + now;
                let known = self
                    .file
                    .load()
                    .unwrap()
                    .iter()
                    .map(|node| node.to_persisted(at))
                    .collect();
                self.registry = Registry::new(Config::default());
                self.registry.restore(known, now);
            }
        }
    }

    /// As the registry's runtime does it after each call; what is returned is what the stores must
    /// have.
    fn keep(&mut self) -> Vec<Change> {
        let at = UNIX_EPOCH + self.now;
        let touched: BTreeSet<NodeId> = self.registry.take_dirty();
        let changes: Vec<Change> = touched
            .into_iter()
            .map(|node_id| match self.registry.persisted_node(&node_id) {
                Some(known) => Change::Put(Arc::new(StoredNode::new(known, at))),
                None => Change::Remove(node_id),
            })
            .collect();
        self.file.apply(&changes).unwrap();
        self.memory.apply(&changes).unwrap();
        changes
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    // spec: KEEP-16
    #[test]
    fn what_is_written_can_be_read(calls in prop::collection::vec(call(), 1..16)) {
        let mut world = World::new();
        for call in calls {
            world.apply(call);
            let changes = world.keep();
            let read = world.file.load().unwrap();
            for change in changes {
                if let Change::Put(written) = change {
                    let read = read.iter().find(|node| node.node_id() == written.node_id());
                    prop_assert_eq!(read, Some(&*written));
                }
            }
        }
        let (file, memory) = (world.file.load().unwrap(), world.memory.load().unwrap());
        prop_assert_eq!(&file, &memory, "the two stores differ");
        // The next process reads the same, and takes all of it up.
        drop(world.file);
        let read = world.disk.store().unwrap().load().unwrap();
        prop_assert_eq!(&read, &file);
        let at = UNIX_EPOCH + world.now;
        let is_alive = |node: &&StoredNode| {
            node.to_persisted(at).forget_in != Some(Duration::ZERO)
        };
        let alive = read.iter().filter(is_alive);
        let mut next = Registry::new(Config::default());
        next.restore(alive.clone().map(|node| node.to_persisted(at)).collect(), world.now);
        prop_assert_eq!(next.persisted_nodes().len(), alive.count());
    }
}

// spec: KEEP-16
#[test]
fn two_lives_with_the_most_pools_each_can_be_read() {
    let mut world = World::new();
    let named = |from: usize| (from..from + MAX_POOLS).map(|i| format!("p{i}")).collect();
    for (incarnation, from) in [(1, 0), (2, MAX_POOLS)] {
        let (node, incarnation, odd) = (0, Some(incarnation), false);
        world.apply(Call::Register {
            node,
            incarnation,
            pools: named(from),
            odd,
        });
        world.keep();
    }
    let read = world.file.load().unwrap();
    let life = read[0]
        .to_persisted(UNIX_EPOCH)
        .registered
        .expect("its registration can be read");
    assert_eq!(life.pools.len(), MAX_POOLS);
}
