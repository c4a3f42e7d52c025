//! Nodes, pools and models, as `/v2` shows them to operators. What nodes said in a heartbeat keeps its type.

use std::{fmt, str::FromStr};

use pool_registry_types::{
    Capabilities, GpuStatus, IdError, NodeId, NodeStatus, PoolId, PoolStatus, ReplicaId,
};
use serde::Deserialize;
use thiserror::Error;

/// `GET /v2/nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Nodes {
    /// Sorted by id.
    pub nodes: Vec<Node>,
    /// Most nodes fell silent together, so those that did stay routable for a while.
    #[serde(default)]
    pub self_suspicion: bool,
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
    /// An operator drains it, or its node.
    #[serde(default)]
    pub drain: Option<Drain>,
    /// How many requests the control plane has running there at this moment; `None` from one that does not tell.
    #[serde(default)]
    pub requests_running: Option<u64>,
    /// Why it is given no requests.
    #[serde(default)]
    pub unavailable: Option<String>,
    /// What the data path holds against it.
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
    /// How many requests the control plane has running there at this moment; `None` from one that does not tell.
    #[serde(default)]
    pub requests_running: Option<u64>,
}

/// The answer to a drain that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct DrainBegun {
    /// How many requests the control plane still has running there; `None` from one that does not tell.
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
    /// The engine, where each is reached by itself.
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
    /// How many requests the control plane has running there at this moment; `None` from one that does not tell.
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
    /// Its engine, where endpoints are single engines.
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

/// What is drained: `NODE` or `NODE/POOL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The node.
    pub node: NodeId,
    /// One of its pools; all of it when there is none.
    pub pool: Option<PoolId>,
}

/// A text that is neither `NODE` nor `NODE/POOL`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be NODE or NODE/POOL: {0}")]
pub struct TargetError(#[from] IdError);

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (node, pool) = match text.split_once('/') {
            Some((node, pool)) => (node, Some(pool)),
            None => (text, None),
        };
        Ok(Self {
            node: node.parse()?,
            pool: pool.map(str::parse).transpose()?,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pool {
            Some(pool) => write!(f, "{}/{pool}", self.node),
            None => write!(f, "{}", self.node),
        }
    }
}

impl Target {
    /// Its path below the server.
    pub(crate) fn path(&self) -> String {
        match &self.pool {
            Some(pool) => format!("/v2/pools/{}/{pool}", self.node),
            None => format!("/v2/nodes/{}", self.node),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_node_or_one_of_its_pools() {
        for (text, path) in [
            ("gpu-1", "/v2/nodes/gpu-1"),
            ("gpu-1/pool-0", "/v2/pools/gpu-1/pool-0"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(
                (target.path().as_str(), target.to_string().as_str()),
                (path, text)
            );
        }
        for bad in ["", "a/b/c", "a/", "/b", "a b"] {
            let error = bad.parse::<Target>().unwrap_err().to_string();
            assert!(error.starts_with("must be NODE or NODE/POOL"), "{error}");
        }
    }

    #[test]
    fn a_node_as_the_server_shows_it() {
        let nodes: Nodes = serde_json::from_value(serde_json::json!({"nodes":[{
            "node_id":"gpu-1","machine_id":"gpu-1","address":"http://h:1","status":"draining","last_heartbeat_age_ms":9,
            "incarnation":1,"version":"0.1.0","capabilities":{"gpus":[],"cpu_cores":2,"ram_total_bytes":3},
            "drain":{"for_ms":5,"deadline_ms":null,"slots_busy":1},
            "pools":[{"pool_id":"pool-0","ready":true,"draining":true,"slots_free":3,"slots_total":4,"vram_free_bytes":0,
                      "engine":"llamacpp","models_available":["tiny"],"quarantine":null}],
        }]}))
        .unwrap();
        let node = &nodes.nodes[0];
        assert_eq!(node.drain.unwrap().slots_busy, 1);
        assert_eq!(node.pools[0].status.slots_free, 3);
    }
}
