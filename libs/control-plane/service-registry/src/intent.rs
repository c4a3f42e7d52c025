//! The intent of operators: drains of nodes and pools.

use std::{collections::BTreeMap, fmt, time::Duration};

use pool_registry_types::{NodeId, PoolId};

/// The target of a drain: a node with all its pools, or one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The node.
    Node(NodeId),
    /// One pool of the node.
    Pool(NodeId, PoolId),
}

impl Target {
    /// The node, or the node of the pool.
    #[must_use]
    pub fn node_id(&self) -> &NodeId {
        match self {
            Self::Node(node) | Self::Pool(node, _) => node,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "{node}"),
            Self::Pool(node, pool) => write!(f, "{node}/{pool}"),
        }
    }
}

/// A drain: the target takes no new requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drain {
    /// When it began.
    pub since: Duration,
    /// When running requests should have finished. The registry only shows it.
    pub deadline: Option<Duration>,
}

/// All drains of one node. They outlive its incarnations, and its absence for a day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) node: Option<Drain>,
    pub(crate) pools: BTreeMap<PoolId, Drain>,
    /// When to forget the drains; set while the node is unknown.
    pub(crate) forget_at: Option<Duration>,
}

impl Intent {
    pub(crate) fn is_empty(&self) -> bool {
        self.node.is_none() && self.pools.is_empty()
    }

    /// The drain of `pool`: its own, or that of its node.
    pub(crate) fn of_pool(&self, pool: &PoolId) -> Option<Drain> {
        self.pools.get(pool).copied().or(self.node)
    }
}
