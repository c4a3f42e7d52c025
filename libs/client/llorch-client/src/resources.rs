//! Nodes, pools, GPUs and models as `/v2` shows them. Parts of a heartbeat keep their type.

use pool_registry_types::{
    Capabilities, GpuStatus, NodeId, NodeStatus, PoolId, PoolStatus, RefusedHandoff, ReplicaId,
    ReplicaStatus,
};
use serde::Deserialize;

/// `GET /v2/nodes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Nodes {
    /// Sorted by id.
    pub nodes: Vec<Node>,
    /// Most nodes fell silent together, so the control plane keeps routing to them for a while.
    #[serde(default)]
    pub self_suspicion: bool,
    /// The last node of this page, when there are more.
    #[serde(default)]
    pub next_after: Option<NodeId>,
    /// Nodes that the control plane has refused in the last minutes.
    #[serde(default)]
    pub refused_nodes: Vec<RefusedNode>,
}

/// A node that the control plane refuses.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct RefusedNode {
    /// Its network address, or the URL that it wants to be reached at.
    pub from: String,
    /// Its id, when its token was accepted.
    #[serde(default)]
    pub node_id: Option<NodeId>,
    /// Why it was refused the last time.
    pub reason: String,
    /// How often it was refused.
    #[serde(default)]
    pub times: u64,
    /// Time since it was refused the last time, in milliseconds.
    #[serde(default)]
    pub last_ms: u64,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Node {
    /// Its id.
    pub node_id: NodeId,
    /// Its URL.
    pub address: String,
    /// Its state.
    pub status: NodeStatus,
    /// Why it is offline or unreachable.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// The age of its last heartbeat, in milliseconds.
    pub last_heartbeat_age_ms: u64,
    /// The agent's version.
    #[serde(default)]
    pub version: Option<String>,
    /// Its hardware.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Its GPUs as last reported; `None` before the first report.
    #[serde(default)]
    pub gpus: Option<Vec<GpuStatus>>,
    /// The handoffs that it refuses.
    #[serde(default)]
    pub refused_handoffs: Vec<RefusedHandoff>,
    /// The drain, while an operator drains it.
    #[serde(default)]
    pub drain: Option<Drain>,
    /// Its pools.
    #[serde(default)]
    pub pools: Vec<NodePool>,
}

/// One pool of a node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct NodePool {
    /// As in the heartbeat.
    #[serde(flatten)]
    pub status: PoolStatus,
    /// Its replicas, when the node reports them.
    #[serde(default)]
    pub replicas: Vec<Replica>,
    /// The drain, while an operator drains it or its node.
    #[serde(default)]
    pub drain: Option<Drain>,
    /// Requests that the control plane has running there; `None` from a server that does not send
    /// the count.
    #[serde(default)]
    pub requests_running: Option<u64>,
    /// Why it gets no requests.
    #[serde(default)]
    pub unavailable: Option<String>,
    /// Its open circuit breaker.
    #[serde(default)]
    pub quarantine: Option<Quarantine>,
}

/// One replica of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Replica {
    /// As in the heartbeat.
    #[serde(flatten)]
    pub status: ReplicaStatus,
    /// Requests that the control plane has running there; `None` from a server that does not send
    /// the count.
    #[serde(default)]
    pub requests_running: Option<u64>,
    /// Its open circuit breaker.
    #[serde(default)]
    pub quarantine: Option<Quarantine>,
}

/// The progress of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Drain {
    /// The time since it began, in milliseconds.
    pub for_ms: u64,
    /// The time until its deadline, in milliseconds; 0 after the deadline.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// Slots in use, as last reported.
    pub slots_busy: u32,
    /// Requests that the control plane has running there; `None` from a server that does not send
    /// the count.
    #[serde(default)]
    pub requests_running: Option<u64>,
}

/// The response to a drain request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct DrainStarted {
    /// Requests that the control plane still has running there; `None` from a server that does not
    /// send the count.
    #[serde(default)]
    pub requests_running: Option<u64>,
}

/// An open circuit breaker.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Quarantine {
    /// The failure that opened it.
    pub reason: String,
    /// The time until the next probe, in milliseconds.
    pub retry_in_ms: u64,
}

/// `GET /v2/gpus`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Gpus {
    /// Sorted by node, then by index.
    pub gpus: Vec<Gpu>,
}

/// A GPU, as its node last reported it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Gpu {
    /// Its node.
    pub node_id: NodeId,
    /// Its hardware and state.
    #[serde(flatten)]
    pub status: GpuStatus,
}

impl Gpu {
    /// A GPU of a node.
    #[must_use]
    pub fn new(node_id: NodeId, status: GpuStatus) -> Self {
        Self { node_id, status }
    }
}

/// `GET /v2/pools`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Pools {
    /// Sorted by node, pool and replica.
    pub pools: Vec<Pool>,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Pool {
    /// Its node.
    pub node_id: NodeId,
    /// The pool.
    pub pool_id: PoolId,
    /// The replica; `None` when the whole pool is the endpoint.
    #[serde(default)]
    pub replica_id: Option<ReplicaId>,
    /// Whether it accepts requests.
    pub ready: bool,
    /// Whether it drains: it accepts no new requests and finishes the running ones.
    pub draining: bool,
    /// Why it cannot serve.
    #[serde(default)]
    pub unavailable: Option<String>,
    /// Free slots, as last reported.
    pub slots_free: u32,
    /// All slots.
    pub slots_total: u32,
    /// Requests that the control plane has running there; `None` from a server that does not send
    /// the count.
    #[serde(default)]
    pub requests_running: Option<u64>,
    /// Free memory of its GPUs, in bytes; 0 when unknown.
    #[serde(default)]
    pub vram_free_bytes: u64,
    /// Its engine.
    #[serde(default)]
    pub engine: Option<String>,
    /// The engine's version.
    #[serde(default)]
    pub engine_version: Option<String>,
    /// The models it serves.
    #[serde(default)]
    pub models_available: Option<Vec<String>>,
    /// Its open circuit breaker.
    #[serde(default)]
    pub quarantine: Option<Quarantine>,
}

/// `GET /v2/catalog/availability`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Catalog {
    /// Sorted by name.
    pub models: Vec<Model>,
}

/// A model and its endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Model {
    /// Its name.
    pub model: String,
    /// Whether a request for it can be served, now or when a slot becomes free.
    pub available: bool,
    /// Endpoints that have it.
    pub endpoints: u32,
    /// Ready endpoints.
    pub endpoints_ready: u32,
    /// Free slots of the ready endpoints.
    pub slots_free: u64,
    /// Slots of the ready endpoints.
    pub slots_total: u64,
    /// Their nodes.
    pub nodes: Vec<NodeId>,
}

/// `POST /v2/placement/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct PlacementExplanation {
    /// The strategy.
    pub strategy: String,
    /// Why no endpoint can serve the request now.
    #[serde(default)]
    pub no_place: Option<String>,
    /// Requests that wait for the model.
    pub waiting: u64,
    /// Every endpoint that has the model.
    pub candidates: Vec<PlacementCandidate>,
}

/// An endpoint with its score.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct PlacementCandidate {
    /// Its node.
    pub node_id: NodeId,
    /// Its pool.
    pub pool_id: PoolId,
    /// Its replica; `None` when the whole pool is the endpoint.
    #[serde(default)]
    pub replica_id: Option<ReplicaId>,
    /// Whether the strategy chooses it.
    pub chosen: bool,
    /// Why the strategy skips it.
    #[serde(default)]
    pub skipped: Option<String>,
    /// Its score; the lowest is chosen.
    pub score: Vec<u64>,
    /// The score in words; `None` from an older server.
    #[serde(default)]
    pub score_in_words: Option<String>,
    /// Slots in use.
    pub slots_used: u32,
    /// All slots.
    pub slots_total: u32,
    /// Free memory of its GPUs, in bytes; 0 when unknown.
    #[serde(default)]
    pub vram_free_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_as_the_server_shows_it() {
        let replica = serde_json::json!({
            "replica_id":"r0","ready":true,"slots_free":3,"slots_total":4,"draining":true,
            "requests_running":1,
        });
        let nodes: Nodes = serde_json::from_value(serde_json::json!({"nodes":[{
            "node_id":"gpu-1","machine_id":"gpu-1","address":"http://h:1","status":"draining",
            "last_heartbeat_age_ms":9,"incarnation":1,"version":"0.1.0",
            "capabilities":{"gpus":[],"cpu_cores":2,"ram_total_bytes":3},
            "drain":{"for_ms":5,"deadline_ms":null,"slots_busy":1},
            "pools":[{
                "pool_id":"pool-0","ready":true,"draining":true,"slots_free":3,"slots_total":4,
                "vram_free_bytes":0,"engine":"llamacpp","models_available":["tiny"],
                "quarantine":null,"replicas":[replica],
            }],
        }]}))
        .unwrap();
        let node = &nodes.nodes[0];
        assert_eq!(node.drain.unwrap().slots_busy, 1);
        assert_eq!(node.pools[0].status.slots_free(), 3);
        let replica = &node.pools[0].replicas[0];
        assert_eq!(
            (replica.status.draining, replica.requests_running),
            (true, Some(1))
        );
    }
}
