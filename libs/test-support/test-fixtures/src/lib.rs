//! Endpoints and pools as tests need them.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a helper of tests panics when something fails, as tests do"
)]

use std::sync::Arc;

use pool_registry_types::{HttpUrl, ModelName, NodeId, PoolId, PoolStatus, ReplicaId, Slots};
use routing_table::{Endpoint, EndpointKey, EndpointReport, EndpointState, RouteChange};

/// The pool of every endpoint, unless a test names another one.
pub const POOL: &str = "pool-0";

/// The model that every endpoint serves, unless a test names others.
pub const MODEL: &str = "m";

/// An endpoint and its last report.
#[derive(Debug, Clone)]
pub struct TestEndpoint {
    /// Its node.
    pub node: String,
    /// Its pool.
    pub pool: String,
    /// Its replica; `None` for a whole pool.
    pub replica: Option<String>,
    /// The incarnation of its node.
    pub incarnation: u64,
    /// The generation of its replica.
    pub generation: u64,
    /// Where requests go.
    pub target: HttpUrl,
    /// What it serves; `None` for an endpoint that does not say.
    pub models: Option<Vec<String>>,
    /// The number of its last report.
    pub report: u64,
    /// Its state.
    pub state: EndpointState,
    /// All of its slots.
    pub slots: u32,
    /// Its free slots.
    pub free: u32,
    /// The free memory of its GPUs.
    pub vram_free_bytes: u64,
    /// The most tokens of one request.
    pub context_length: Option<u32>,
}

impl TestEndpoint {
    /// An idle pool with that many slots, which serves [`MODEL`]. Nothing listens at its
    /// address.
    #[must_use]
    pub fn of_pool(node: &str, slots: u32) -> Self {
        Self {
            node: node.to_owned(),
            pool: POOL.to_owned(),
            replica: None,
            incarnation: 1,
            generation: 0,
            target: HttpUrl::new("http://localhost:1").unwrap(),
            models: Some(vec![MODEL.to_owned()]),
            report: 1,
            state: EndpointState::Ready,
            slots,
            free: slots,
            vram_free_bytes: 0,
            context_length: None,
        }
    }

    /// As [`of_pool`](Self::of_pool), but one replica of the pool.
    #[must_use]
    pub fn of_replica(node: &str, replica: &str, slots: u32) -> Self {
        Self {
            replica: Some(replica.to_owned()),
            ..Self::of_pool(node, slots)
        }
    }

    /// Its name.
    #[must_use]
    pub fn key(&self) -> EndpointKey {
        EndpointKey {
            node: NodeId::new(&self.node).unwrap(),
            pool: PoolId::new(&self.pool).unwrap(),
            replica: self
                .replica
                .as_deref()
                .map(|id| ReplicaId::new(id).unwrap()),
        }
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> Arc<Endpoint> {
        let name = |name: &String| ModelName::new(name).unwrap();
        let models = (self.models.as_ref()).map(|models| models.iter().map(name).collect());
        let endpoint = Endpoint::new(
            self.key(),
            self.incarnation,
            self.generation,
            Arc::new(self.target.clone()),
            models,
        );
        Arc::new(endpoint.with_model_facts(self.context_length, None))
    }

    /// Its last report.
    #[must_use]
    pub fn report(&self) -> EndpointReport {
        EndpointReport {
            number: self.report,
            state: self.state,
            slots_total: self.slots,
            slots_free: self.free,
            vram_free_bytes: self.vram_free_bytes,
        }
    }

    /// The change that makes the endpoint known.
    #[must_use]
    pub fn set(&self) -> RouteChange {
        RouteChange::Set(self.endpoint(), self.report())
    }
}

/// A pool that is ready, as its node reports it.
#[must_use]
pub fn pool_status(id: &str, slots_free: u32, slots_total: u32) -> PoolStatus {
    let slots = Slots::clamped(slots_free, slots_total);
    let mut status = PoolStatus::new(PoolId::new(id).unwrap()).with_slots(slots);
    status.ready = true;
    status
}

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
