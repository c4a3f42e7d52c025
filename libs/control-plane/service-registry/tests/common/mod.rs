//! Short ways to say what nodes say, and a clock that ticks as a runtime would.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "shared by several tests; each uses a part of it, and none is an interface"
)]

pub mod store;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pool_registry_types::{
    HeartbeatRequest, HttpUrl, MachineId, ModelName, NodeId, NodeStatus, PoolId, PoolStatus,
    RegisterRequest, Text,
};
use routing_table::{Endpoint, EndpointKey, EndpointReport, EndpointState, RouteChange};
use service_registry::{
    Availability, Config, Delta, HeartbeatOutcome, NodeFilter, NodeView, RegisterOutcome, Registry,
    RegistryError, Target,
};
use test_fixtures::pool_status;

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn id(node: &str) -> NodeId {
    NodeId::new(node).unwrap()
}

pub fn pool_id(pool: &str) -> PoolId {
    PoolId::new(pool).unwrap()
}

pub fn model_names(models: &[&str]) -> Vec<ModelName> {
    models.iter().map(|name| name.parse().unwrap()).collect()
}

pub fn register(node: &str, machine: &str, incarnation: Option<u64>) -> RegisterRequest {
    let mut request = RegisterRequest::new(
        id(node),
        MachineId::new(machine).unwrap(),
        HttpUrl::new(&format!("http://{node}:9200")).unwrap(),
    );
    request.pools = vec![pool_id("pool-0")];
    request.version = Some(Text::cut("0.1.0"));
    request.incarnation = incarnation;
    request
}

pub fn pool(name: &str) -> PoolStatus {
    let mut status = pool_status(name, 3, 4);
    status.models_available = Some(model_names(&["tiny"]));
    status
}

pub fn beat(
    incarnation: Option<u64>,
    seq: Option<u64>,
    pools: Vec<PoolStatus>,
) -> HeartbeatRequest {
    let mut heartbeat = HeartbeatRequest::new(Text::cut("2025-09-30T22:00:00Z"), pools);
    heartbeat.incarnation = incarnation;
    heartbeat.seq = seq;
    heartbeat
}

/// What the data path knows of the endpoints: it hears of changes only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    pub by_key: BTreeMap<EndpointKey, (Arc<Endpoint>, EndpointReport)>,
    /// The changes of the last event that had any.
    pub last: Vec<RouteChange>,
}

impl Routes {
    pub fn follow(&mut self, registry: &mut Registry) {
        let mut changes = Vec::new();
        registry.take_routes(&mut changes);
        for change in &changes {
            match change {
                RouteChange::Set(endpoint, report) => {
                    let known = (endpoint.clone(), *report);
                    let before = self.by_key.insert(endpoint.key().clone(), known.clone());
                    assert_ne!(before.as_ref(), Some(&known), "told twice");
                    if let Some((before, _)) = before {
                        let same = Arc::ptr_eq(&before, endpoint);
                        assert_eq!(
                            same,
                            before == *endpoint,
                            "lasting facts are shared while they last"
                        );
                    }
                }
                RouteChange::Remove(endpoint) => {
                    let known = self.by_key.remove(endpoint.key()).expect("it was there");
                    assert!(Arc::ptr_eq(&known.0, endpoint));
                }
            }
        }
        if !changes.is_empty() {
            self.last = changes;
        }
    }
}

/// What the data path makes of it.
pub fn state(availability: &Availability) -> EndpointState {
    match availability {
        Availability::Ready => EndpointState::Ready,
        Availability::Asleep => EndpointState::ScaledToZero,
        Availability::Draining => EndpointState::Draining,
        Availability::NotReady(_) => EndpointState::NotReady,
    }
}

/// A registry and a clock that wakes it whenever it asked to be woken.
#[derive(Clone)]
pub struct World {
    pub registry: Registry,
    pub now: Duration,
    pub routes: Routes,
}

impl World {
    pub fn new() -> Self {
        Self {
            registry: Registry::new(Config::default()),
            now: Duration::ZERO,
            routes: Routes::default(),
        }
    }

    /// What the data path is told by now.
    pub fn routes(&self) -> Routes {
        let mut after = self.clone();
        after.routes.follow(&mut after.registry);
        after.routes
    }

    /// All endpoints, sorted by name.
    pub fn endpoints(&self) -> Vec<(Arc<Endpoint>, EndpointReport)> {
        self.routes().by_key.into_values().collect()
    }

    /// All nodes, sorted by id.
    pub fn nodes(&self) -> Vec<NodeView> {
        self.registry
            .page(None, usize::MAX, &NodeFilter::default())
            .nodes
    }

    pub fn node(&self, node: &str) -> NodeView {
        self.registry.node(&id(node)).unwrap()
    }

    pub fn suspects_itself(&self) -> bool {
        self.registry.summary().self_suspicion
    }

    /// Nodes that registered and reported one ready pool at 0 s.
    pub fn with_nodes(nodes: &[&str]) -> Self {
        let mut world = Self::new();
        for node in nodes {
            world.register(node).unwrap();
            world.beat(node).unwrap();
        }
        world.deltas();
        world
    }

    /// Time passes.
    pub fn wait_until(&mut self, then: Duration) {
        while let Some(deadline) = self.registry.next_deadline().filter(|at| *at <= then) {
            self.registry.tick(deadline);
        }
        self.now = then;
        self.registry.tick(then);
    }

    /// Time passes and these nodes report every 10 s on their way.
    pub fn wait_with(&mut self, then: Duration, alive: &[&str]) {
        while self.now < then {
            self.wait_until((self.now + secs(10)).min(then));
            for node in alive {
                self.beat(node).unwrap();
            }
        }
    }

    pub fn register(&mut self, node: &str) -> Result<RegisterOutcome, RegistryError> {
        self.register_as(register(node, "machine-a", Some(1)))
    }

    pub fn register_as(
        &mut self,
        request: RegisterRequest,
    ) -> Result<RegisterOutcome, RegistryError> {
        self.registry.register(request, self.now)
    }

    pub fn beat(&mut self, node: &str) -> Result<HeartbeatOutcome, RegistryError> {
        self.beat_as(node, beat(Some(1), None, vec![pool("pool-0")]))
    }

    pub fn beat_as(
        &mut self,
        node: &str,
        request: HeartbeatRequest,
    ) -> Result<HeartbeatOutcome, RegistryError> {
        self.registry.heartbeat(&id(node), request, self.now)
    }

    pub fn probe(&mut self, node: &str, ok: bool) {
        let result = if ok {
            Ok(())
        } else {
            Err("refused".to_owned())
        };
        self.registry.probe(&id(node), Some(1), result, self.now);
    }

    pub fn drain(&mut self, target: &Target) -> Result<(), RegistryError> {
        self.registry.drain(target, None, self.now)
    }

    pub fn undrain(&mut self, target: &Target) -> Result<(), RegistryError> {
        self.registry.undrain(target, self.now)
    }

    pub fn status(&self, node: &str) -> NodeStatus {
        self.registry.status(&id(node)).unwrap()
    }

    /// Of the node's `pool-0`.
    pub fn availability(&self, node: &str) -> Availability {
        let availability = self
            .node(node)
            .pool(&pool_id("pool-0"))
            .unwrap()
            .availability
            .clone();
        let key = EndpointKey {
            node: id(node),
            pool: pool_id("pool-0"),
            replica: None,
        };
        let (_, report) = self.routes().by_key[&key];
        assert_eq!(report.state, state(&availability));
        availability
    }

    pub fn routable(&self, node: &str) -> bool {
        self.availability(node) == Availability::Ready
    }

    pub fn unavailable_reason(&self, node: &str) -> String {
        match self.availability(node) {
            Availability::NotReady(reason) => reason.as_ref().to_owned(),
            other => format!("{other:?}"),
        }
    }

    pub fn deltas(&mut self) -> Vec<Delta> {
        self.routes.follow(&mut self.registry);
        self.registry.take_deltas()
    }

    /// Status changes since last asked, as `node from>to`.
    pub fn transitions(&mut self) -> Vec<String> {
        self.deltas()
            .into_iter()
            .filter_map(|delta| match delta {
                Delta::StatusChanged {
                    node_id, from, to, ..
                } => Some(format!("{node_id} {from}>{to}")),
                _ => None,
            })
            .collect()
    }

    /// Does `event` and asserts that nothing changed.
    pub fn unchanged<T>(&mut self, event: impl FnOnce(&mut Self) -> T) -> T {
        self.registry.tick(self.now);
        let before = self.registry.clone();
        let result = event(self);
        assert_eq!(self.registry, before);
        result
    }
}
