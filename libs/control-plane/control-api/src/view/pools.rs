//! The endpoints, one by one.

use pool_registry_types::{EngineKind, NodeId, PoolId, ReplicaId};
use serde::Serialize;
use service_registry::{NodesPage, PoolView};

use super::{
    Lookups, QuarantineView,
    endpoints::{EndpointView, Standing, endpoints},
};
use crate::pages::next_after;

/// `GET /v2/pools`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolsAnswer {
    /// Sorted by node, pool and replica.
    pub pools: Vec<PoolAnswer>,
    /// There are more nodes: ask for those after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<NodeId>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolAnswer {
    /// The node it is on.
    pub node_id: NodeId,
    /// The pool.
    pub pool_id: PoolId,
    /// The replica; absent where the pool as a whole is the endpoint.
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
    /// How many requests this control plane has running there at this moment; absent where nobody
    /// knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_running: Option<u64>,
    /// Free memory of its pool's devices in bytes; 0 when unknown.
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
    /// Why the data path keeps requests from it; null when it does not.
    pub quarantine: Option<QuarantineView>,
}

impl PoolsAnswer {
    /// All endpoints of a page of nodes.
    pub(crate) fn of(page: &NodesPage, lookups: &Lookups) -> Self {
        let mut answer = Self {
            pools: Vec::new(),
            next_after: next_after(page),
        };
        for node in &page.nodes {
            // A node lists its pools in an order of its own.
            let mut pools: Vec<&PoolView> = node.pools.iter().collect();
            pools.sort_by(|a, b| a.status.pool_id.cmp(&b.status.pool_id));
            for pool in pools {
                let all = endpoints(pool);
                answer
                    .pools
                    .extend(all.iter().map(|one| PoolAnswer::new(one, pool, lookups)));
            }
        }
        answer
    }
}

impl PoolAnswer {
    fn new(endpoint: &EndpointView<'_>, pool: &PoolView, lookups: &Lookups) -> Self {
        let key = endpoint.key;
        let standing = endpoint.standing();
        Self {
            quarantine: (lookups.quarantine)(key),
            requests_running: (lookups.running)(key),
            node_id: key.node.clone(),
            pool_id: key.pool.clone(),
            replica_id: key.replica.clone(),
            ready: standing == Standing::Ready,
            draining: standing == Standing::Draining,
            unavailable: match standing {
                Standing::NotReady(reason) => Some(reason),
                Standing::Ready | Standing::Draining => None,
            },
            slots_free: endpoint.slots_free(),
            slots_total: endpoint.slots_total(),
            vram_free_bytes: pool.status.vram_free_bytes,
            engine: pool.status.engine.clone(),
            engine_version: pool.status.engine_version.clone(),
            models_available: endpoint
                .models()
                .map(|models| models.into_iter().map(str::to_owned).collect()),
        }
    }
}
