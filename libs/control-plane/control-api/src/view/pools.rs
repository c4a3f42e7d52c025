//! The pools and the model catalog, as the data path sees them: from the routing table, in every profile.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use pool_registry_types::{EngineKind, NodeId, PoolId, ReplicaId};
use routing_table::{Availability, Endpoint, RoutingTable};
use serde::Serialize;

use super::{Lookups, QuarantineView, unavailable};

/// `GET /v2/pools`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolsAnswer {
    /// Sorted by node, pool and replica.
    pub pools: Vec<PoolAnswer>,
}

/// One endpoint of the routing table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolAnswer {
    /// The node it is on.
    pub node_id: NodeId,
    /// The pool.
    pub pool_id: PoolId,
    /// The engine, where each is reached by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_id: Option<ReplicaId>,
    /// It takes requests.
    pub ready: bool,
    /// It takes no new ones; running ones finish.
    pub draining: bool,
    /// Why it cannot serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
    /// How many more requests it could take when it last reported.
    pub slots_free: u32,
    /// How many it serves at once.
    pub slots_total: u32,
    /// How many requests this control plane has running there at this moment; absent where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_running: Option<u64>,
    /// Free memory of its devices in bytes; 0 when unknown.
    pub vram_free_bytes: u64,
    /// Its engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineKind>,
    /// The engine's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// The models it serves; absent while nobody has said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models_available: Option<Vec<String>>,
    /// What the data path holds against it; null when nothing.
    pub quarantine: Option<QuarantineView>,
}

/// `GET /v2/catalog/availability`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CatalogAnswer {
    /// Sorted by name.
    pub models: Vec<ModelAnswer>,
}

/// One model and who serves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelAnswer {
    /// Its name.
    pub model: String,
    /// A request for it can be served now, or as soon as a slot is free.
    pub available: bool,
    /// How many endpoints name it, ready or not.
    pub endpoints: u32,
    /// How many of them are ready.
    pub endpoints_ready: u32,
    /// Free slots of the ready ones.
    pub slots_free: u64,
    /// Slots of the ready ones.
    pub slots_total: u64,
    /// The nodes of the endpoints that name it, sorted.
    pub nodes: Vec<NodeId>,
}

impl PoolsAnswer {
    /// All endpoints of the table.
    pub(crate) fn new(table: &RoutingTable, lookups: &Lookups) -> Self {
        Self {
            pools: table
                .endpoints()
                .iter()
                .map(|endpoint| PoolAnswer::new(endpoint, lookups))
                .collect(),
        }
    }
}

impl PoolAnswer {
    fn new(endpoint: &Endpoint, lookups: &Lookups) -> Self {
        let key = endpoint.key.clone();
        Self {
            quarantine: (lookups.quarantine)(&key),
            requests_running: (lookups.running)(&key),
            node_id: key.node,
            pool_id: key.pool,
            replica_id: key.replica,
            ready: endpoint.availability.is_routable(),
            draining: endpoint.availability == Availability::Draining,
            unavailable: unavailable(&endpoint.availability),
            slots_free: endpoint.slots_free,
            slots_total: endpoint.slots_total,
            vram_free_bytes: endpoint.vram_free_bytes,
            engine: endpoint.engine.clone(),
            engine_version: endpoint.engine_version.as_deref().map(str::to_owned),
            models_available: endpoint.models.as_deref().map(<[String]>::to_vec),
        }
    }
}

impl CatalogAnswer {
    /// Every model that an endpoint of the table names.
    pub(crate) fn new(table: &RoutingTable) -> Self {
        let mut models: Vec<ModelAnswer> = table
            .models()
            .map(|model| ModelAnswer::new(model, table))
            .collect();
        models.sort_by(|a, b| a.model.cmp(&b.model));
        Self { models }
    }
}

impl ModelAnswer {
    fn new(model: &str, table: &RoutingTable) -> Self {
        let mut answer = Self {
            model: model.to_owned(),
            available: false,
            endpoints: 0,
            endpoints_ready: 0,
            slots_free: 0,
            slots_total: 0,
            nodes: Vec::new(),
        };
        let endpoints = table.endpoints();
        for endpoint in table
            .candidates(model)
            .iter()
            .filter_map(|&place| endpoints.get(usize::try_from(place).ok()?))
        {
            answer.add(endpoint);
        }
        answer
    }

    /// Endpoints come sorted by node.
    fn add(&mut self, endpoint: &Endpoint) {
        self.endpoints = self.endpoints.saturating_add(1);
        if self.nodes.last() != Some(&endpoint.key.node) {
            self.nodes.push(endpoint.key.node.clone());
        }
        if endpoint.availability.is_routable() {
            self.endpoints_ready = self.endpoints_ready.saturating_add(1);
            self.slots_free = self.slots_free.saturating_add(endpoint.slots_free.into());
            self.slots_total = self.slots_total.saturating_add(endpoint.slots_total.into());
            self.available |= endpoint.slots_total > 0;
        }
    }
}
