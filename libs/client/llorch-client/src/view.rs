//! Nodes, pools and models, as `/v2` shows them to operators. What nodes said in a heartbeat keeps
//! its type.

use pool_registry_types::{
    Capabilities, GpuStatus, NodeId, NodeStatus, PoolId, PoolStatus, ReplicaId, ReplicaStatus,
};
use serde::Deserialize;

/// `GET /v2/nodes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Nodes {
    /// Sorted by id.
    pub nodes: Vec<Node>,
    /// Most nodes fell silent together, so those that did stay routable for a while.
    #[serde(default)]
    pub self_suspicion: bool,
    /// There are more; these are the first ones.
    #[serde(default)]
    pub next_after: Option<NodeId>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Node {
    /// Its id.
    pub node_id: NodeId,
    /// Where it listens.
    pub address: String,
    /// Where it stands.
    pub status: NodeStatus,
    /// Why, when it is offline or unreachable.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// How long ago it was last heard, in milliseconds.
    pub last_heartbeat_age_ms: u64,
    /// The agent's version.
    #[serde(default)]
    pub version: Option<String>,
    /// Its hardware.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Its GPUs as it last reported them; `None` when it has not.
    #[serde(default)]
    pub gpus: Option<Vec<GpuStatus>>,
    /// An operator drains it.
    #[serde(default)]
    pub drain: Option<Drain>,
    /// Its pools.
    #[serde(default)]
    pub pools: Vec<NodePool>,
}

/// One pool of a node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NodePool {
    /// As in the heartbeat.
    #[serde(flatten)]
    pub status: PoolStatus,
    /// Its replicas, where the node reports them.
    #[serde(default)]
    pub replicas: Vec<Replica>,
    /// An operator drains it, or its node.
    #[serde(default)]
    pub drain: Option<Drain>,
    /// How many requests the control plane has running there at this moment; `None` from one that
    /// does not tell.
    #[serde(default)]
    pub requests_running: Option<u64>,
    /// Why it is given no requests.
    #[serde(default)]
    pub unavailable: Option<String>,
    /// What the data path holds against it.
    #[serde(default)]
    pub quarantine: Option<Quarantine>,
}

/// One replica of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Replica {
    /// As in the heartbeat.
    #[serde(flatten)]
    pub status: ReplicaStatus,
    /// How many requests the control plane has running there at this moment; `None` from one that
    /// does not tell.
    #[serde(default)]
    pub requests_running: Option<u64>,
    /// Why the data path keeps requests from it.
    #[serde(default)]
    pub quarantine: Option<Quarantine>,
}

/// An operator's drain and how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Drain {
    /// For how long, in milliseconds.
    pub for_ms: u64,
    /// How long running requests may still take, in milliseconds; 0 when that is over.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// Slots still taken, as last reported.
    pub slots_busy: u32,
    /// How many requests the control plane has running there at this moment; `None` from one that
    /// does not tell.
    #[serde(default)]
    pub requests_running: Option<u64>,
}

/// The answer to a drain that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct DrainBegun {
    /// How many requests the control plane still has running there; `None` from one that does not
    /// tell.
    #[serde(default)]
    pub requests_running: Option<u64>,
}

/// The data path has seen it fail.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Quarantine {
    /// What failed.
    pub reason: String,
    /// When it is tried again, in milliseconds.
    pub retry_in_ms: u64,
}

/// `GET /v2/gpus`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Gpus {
    /// Sorted by node, then by index.
    pub gpus: Vec<Gpu>,
}

/// One GPU, as its node last reported it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Gpu {
    /// The node it is in.
    pub node_id: NodeId,
    /// What it is and how it fares.
    #[serde(flatten)]
    pub status: GpuStatus,
}

/// `GET /v2/pools`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pools {
    /// Sorted by node, pool and replica.
    pub pools: Vec<Pool>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pool {
    /// The node it is on.
    pub node_id: NodeId,
    /// The pool.
    pub pool_id: PoolId,
    /// The replica; `None` where the pool as a whole is the endpoint.
    #[serde(default)]
    pub replica_id: Option<ReplicaId>,
    /// It takes requests.
    pub ready: bool,
    /// It takes no new ones; running ones finish.
    pub draining: bool,
    /// Why it cannot serve.
    #[serde(default)]
    pub unavailable: Option<String>,
    /// How many more requests it could take when it last reported.
    pub slots_free: u32,
    /// How many it serves at once.
    pub slots_total: u32,
    /// How many requests the control plane has running there at this moment; `None` from one that
    /// does not tell.
    #[serde(default)]
    pub requests_running: Option<u64>,
    /// Free memory of its devices in bytes; 0 when unknown.
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
    /// What the data path holds against it.
    #[serde(default)]
    pub quarantine: Option<Quarantine>,
}

/// `GET /v2/catalog/availability`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Catalog {
    /// Sorted by name.
    pub models: Vec<Model>,
}

/// One model and who serves it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Model {
    /// Its name.
    pub model: String,
    /// A request for it can be served now, or as soon as a slot is free.
    pub available: bool,
    /// Endpoints that name it.
    pub endpoints: u32,
    /// How many of them are ready.
    pub endpoints_ready: u32,
    /// Free slots of the ready ones.
    pub slots_free: u64,
    /// Slots of the ready ones.
    pub slots_total: u64,
    /// Their nodes.
    pub nodes: Vec<NodeId>,
}

/// `POST /v2/placement/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Explained {
    /// The strategy that was applied.
    pub strategy: String,
    /// Why the request would have to wait, or fail.
    #[serde(default)]
    pub no_place: Option<String>,
    /// How many requests wait for the model already.
    pub waiting: u64,
    /// Every endpoint that may serve the model.
    pub candidates: Vec<Candidate>,
}

/// One endpoint, as the choice saw it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Candidate {
    /// Its node.
    pub node_id: NodeId,
    /// Its pool.
    pub pool_id: PoolId,
    /// Its replica; `None` where the pool as a whole is the endpoint.
    #[serde(default)]
    pub replica_id: Option<ReplicaId>,
    /// It would be chosen.
    pub chosen: bool,
    /// Why it would not even be considered.
    #[serde(default)]
    pub skipped: Option<String>,
    /// Where it stands by the strategy; the lowest is chosen.
    pub score: Vec<u64>,
    /// What the score says; `None` from a control plane that does not tell.
    #[serde(default)]
    pub score_in_words: Option<String>,
    /// Slots that are taken.
    pub slots_used: u32,
    /// Slots it has.
    pub slots_total: u32,
    /// Free memory of its devices in bytes; 0 when unknown.
    #[serde(default)]
    pub vram_free_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_as_the_server_shows_it() {
        let nodes: Nodes = serde_json::from_value(serde_json::json!({"nodes":[{
            "node_id":"gpu-1","machine_id":"gpu-1","address":"http://h:1","status":"draining","last_heartbeat_age_ms":9,
            "incarnation":1,"version":"0.1.0","capabilities":{"gpus":[],"cpu_cores":2,"ram_total_bytes":3},
            "drain":{"for_ms":5,"deadline_ms":null,"slots_busy":1},
            "pools":[{"pool_id":"pool-0","ready":true,"draining":true,"slots_free":3,"slots_total":4,"vram_free_bytes":0,
                      "engine":"llamacpp","models_available":["tiny"],"quarantine":null,
                      "replicas":[{"replica_id":"r0","ready":true,"slots_free":3,"slots_total":4,"draining":true,"requests_running":1}]}],
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
