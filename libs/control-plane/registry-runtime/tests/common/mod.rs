//! A running registry, and short constructors of messages.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by several tests; each uses a part of it, and none is an interface"
)]

pub mod agent;
pub mod store;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use event_log::EventLog;
use parking_lot::Mutex;
use pool_registry_types::{
    HeartbeatRequest, HttpUrl, MachineId, NodeId, NodeStatus, RegisterRequest, Text,
};
use registry_runtime::{Config, RegistryHandle, build};
use registry_store::{MemoryStore, RegistryStore};
use routing_table::{Endpoint, EndpointKey, EndpointReport, EndpointState, RouteChange, RouteSink};
use service_runtime::{Shutdown, Tasks};
use test_fixtures::pool_status;

/// Long enough for every machine; only a failing test waits this long.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A data path that records routes.
#[derive(Debug, Default)]
pub struct Routes {
    pub by_key: Mutex<BTreeMap<EndpointKey, (Arc<Endpoint>, EndpointReport)>>,
    /// The number of calls.
    pub times: Mutex<usize>,
}

impl RouteSink for Routes {
    fn apply(&self, changes: &[RouteChange]) {
        *self.times.lock() += 1;
        let mut by_key = self.by_key.lock();
        for change in changes {
            match change {
                RouteChange::Set(endpoint, report) => {
                    by_key.insert(endpoint.key().clone(), (endpoint.clone(), *report));
                }
                RouteChange::Remove(endpoint) => {
                    by_key.remove(endpoint.key());
                }
            }
        }
    }
}

impl Routes {
    pub fn len(&self) -> usize {
        self.by_key.lock().len()
    }

    /// The report of the first endpoint of a node.
    pub fn report(&self, node: &str) -> Option<EndpointReport> {
        let by_key = self.by_key.lock();
        let mut of_node = by_key.iter().filter(|(key, _)| key.node.as_str() == node);
        of_node.next().map(|(_, (_, report))| *report)
    }

    pub fn state(&self, node: &str) -> Option<EndpointState> {
        self.report(node).map(|report| report.state)
    }
}

pub struct Running {
    pub handle: RegistryHandle,
    pub routes: Arc<Routes>,
    pub shutdown: Shutdown,
    pub tasks: Tasks,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

impl Running {
    /// Waits until `holds`, which is checked after each change.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let mut revisions = self.handle.revisions();
        let reached = async {
            while !holds(self) {
                revisions.changed().await.unwrap();
            }
        };
        let reached = tokio::time::timeout(TEST_TIMEOUT, reached).await;
        assert!(reached.is_ok(), "timed out: {what}");
    }

    pub fn status(&self, node: &str) -> Option<NodeStatus> {
        self.handle.node(&id(node)).map(|node| node.status)
    }

    pub async fn until_status(&self, node: &str, wanted: NodeStatus) {
        self.until(&format!("{node} {wanted}"), |running| {
            running.status(node) == Some(wanted)
        })
        .await;
    }

    /// Stops like a daemon: everything is written.
    pub async fn stop(self) {
        self.shutdown.request();
        self.tasks.join(TEST_TIMEOUT).await.unwrap();
    }

    /// Stops like a killed daemon: nothing more is written.
    pub async fn kill(self) {
        self.tasks.join(Duration::ZERO).await.unwrap_err();
    }
}

pub fn start(config: Config) -> Running {
    start_with(config, Arc::new(MemoryStore::default()))
}

pub fn start_with(config: Config, store: Arc<dyn RegistryStore>) -> Running {
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(shutdown.clone());
    let routes = Arc::new(Routes::default());
    let parts = build(config, store, routes.clone(), EventLog::new()).unwrap();
    tasks.spawn("registry", parts.timer.run(shutdown.clone()));
    tasks.spawn("registry-writer", parts.writer.run());
    if let Some(prober) = parts.prober {
        tasks.spawn("node-prober", prober.run(shutdown.clone()));
    }
    Running {
        handle: parts.handle,
        routes,
        shutdown,
        tasks,
    }
}

pub fn without_prober() -> Config {
    Config {
        prober: None,
        ..Config::default()
    }
}

pub fn id(node: &str) -> NodeId {
    NodeId::new(node).unwrap()
}

pub fn register_at(node: &str, address: &str) -> RegisterRequest {
    let mut request = RegisterRequest::new(
        id(node),
        MachineId::new("machine-a").unwrap(),
        HttpUrl::new(address).unwrap(),
    );
    request.incarnation = Some(1);
    request
}

pub fn register(node: &str) -> RegisterRequest {
    register_at(node, "http://192.168.1.100:9200")
}

pub fn beat(slots_free: u32) -> HeartbeatRequest {
    let mut heartbeat = HeartbeatRequest::new(
        Text::cut("2025-09-30T22:00:00Z"),
        vec![pool_status("pool-0", slots_free, 4)],
    );
    heartbeat.incarnation = Some(1);
    heartbeat
}
