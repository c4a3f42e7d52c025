//! What a node says in a heartbeat.

use pool_registry_types::{GpuStatus, PoolStatus};

/// The state of a node, asked for when a heartbeat is written. A list of pools is one, without
/// GPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// All its pools.
    pub pools: Vec<PoolStatus>,
    /// Its GPUs as they are, in index order; `None` when the node does not look at them.
    pub gpus: Option<Vec<GpuStatus>>,
}

impl From<Vec<PoolStatus>> for NodeReport {
    fn from(pools: Vec<PoolStatus>) -> Self {
        Self { pools, gpus: None }
    }
}
