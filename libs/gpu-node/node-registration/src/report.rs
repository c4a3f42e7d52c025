//! The state of a node in a heartbeat.

use pool_registry_types::{GpuStatus, PoolStatus, RefusedHandoff};

/// The state of a node, read when a heartbeat is written. A list of pools converts into a report
/// without GPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeReport {
    /// All its pools.
    pub pools: Vec<PoolStatus>,
    /// Its GPUs, in index order; `None` when the node does not read them.
    pub gpus: Option<Vec<GpuStatus>>,
    /// The handoff files that it refuses.
    pub refused_handoffs: Vec<RefusedHandoff>,
}

impl NodeReport {
    /// A report of pools, without GPUs.
    #[must_use]
    pub fn new(pools: Vec<PoolStatus>) -> Self {
        Self {
            pools,
            ..Self::default()
        }
    }

    /// Adds the GPUs.
    #[must_use]
    pub fn with_gpus(mut self, gpus: Vec<GpuStatus>) -> Self {
        self.gpus = Some(gpus);
        self
    }

    /// Adds the handoff files that the node refuses.
    #[must_use]
    pub fn with_refused_handoffs(mut self, refused: Vec<RefusedHandoff>) -> Self {
        self.refused_handoffs = refused;
        self
    }
}

impl From<Vec<PoolStatus>> for NodeReport {
    fn from(pools: Vec<PoolStatus>) -> Self {
        Self::new(pools)
    }
}
