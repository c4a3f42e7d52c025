//! Endpoints, as `GET /v2/pools` shows them.

use pool_registry_types::{EngineKind, NodeId, PoolId, ReplicaId};
use serde::Serialize;
use service_registry::{NodesPage, PoolView};

use super::endpoints::{EndpointState, EndpointView, endpoints};
use crate::{
    data_path::{DataPathSource, QuarantineView},
    pages::next_after,
};

/// `GET /v2/pools`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolsAnswer {
    /// Sorted by node, pool and replica.
    pub pools: Vec<PoolAnswer>,
    /// There are more nodes: ask for those after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<NodeId>,
    /// Handoffs that nodes refuse, which would be endpoints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused_handoffs: Vec<RefusedHandoffAnswer>,
}

/// A handoff that a node refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefusedHandoffAnswer {
    /// The node.
    pub node_id: NodeId,
    /// The path of the file on the node.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolAnswer {
    /// The node it is on.
    pub node_id: NodeId,
    /// The pool.
    pub pool_id: PoolId,
    /// The replica; absent when the whole pool is the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_id: Option<ReplicaId>,
    /// Whether it takes requests.
    pub ready: bool,
    /// Whether it finishes running requests and takes no new ones.
    pub draining: bool,
    /// Why it takes no requests, when it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
    /// Free slots, counted live as in `GET /v2/status`.
    pub slots_free: u32,
    /// All slots, as last reported by the node.
    pub slots_total: u32,
    /// Requests that this control plane runs there now; absent when unknown.
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
    /// Its models; absent when neither the engine nor the handoff names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models_available: Option<Vec<String>>,
    /// The most tokens of one request; absent when the engine does not report it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u32>,
    /// Its open circuit breaker; null when it is closed.
    pub quarantine: Option<QuarantineView>,
}

impl PoolsAnswer {
    /// All endpoints of a page of nodes.
    pub(crate) fn of(page: &NodesPage, data_path: &dyn DataPathSource) -> Self {
        let mut answer = Self {
            pools: Vec::new(),
            next_after: next_after(page),
            refused_handoffs: Vec::new(),
        };
        for node in &page.nodes {
            let refused = node.refused_handoffs.iter();
            answer
                .refused_handoffs
                .extend(refused.map(|refused| RefusedHandoffAnswer {
                    node_id: node.node_id.clone(),
                    file: refused.file().to_owned(),
                    reason: refused.reason().to_owned(),
                }));
            // Nodes report their pools in any order.
            let mut pools: Vec<&PoolView> = node.pools.iter().collect();
            pools.sort_by(|a, b| a.status.pool_id.cmp(&b.status.pool_id));
            for pool in pools {
                let all = endpoints(pool);
                answer
                    .pools
                    .extend(all.iter().map(|one| PoolAnswer::new(one, pool, data_path)));
            }
        }
        answer
    }
}

impl PoolAnswer {
    fn new(endpoint: &EndpointView<'_>, pool: &PoolView, data_path: &dyn DataPathSource) -> Self {
        let key = endpoint.key;
        let state = endpoint.state();
        Self {
            quarantine: data_path.quarantine(key),
            requests_running: data_path.requests_running(key),
            node_id: key.node.clone(),
            pool_id: key.pool.clone(),
            replica_id: key.replica.clone(),
            ready: state == EndpointState::Ready,
            draining: state == EndpointState::Draining,
            unavailable: match state {
                EndpointState::NotReady(reason) => Some(reason),
                EndpointState::Ready | EndpointState::Draining => None,
            },
            slots_free: endpoint.slots_free(data_path),
            slots_total: endpoint.slots_total(),
            vram_free_bytes: pool.status.vram_free_bytes,
            engine: pool.status.engine.clone(),
            engine_version: pool.status.engine_version.as_deref().map(str::to_owned),
            context_length: endpoint.context_length(),
            models_available: endpoint
                .models()
                .map(|models| models.into_iter().map(str::to_owned).collect()),
        }
    }
}
