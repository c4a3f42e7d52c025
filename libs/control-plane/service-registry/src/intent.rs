//! What operators want: which nodes and pools take no new work.

use std::{collections::BTreeMap, fmt, time::Duration};

use pool_registry_types::{NodeId, PoolId};

/// What an operator drains: a node with all its pools, or one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The node.
    Node(NodeId),
    /// One pool of the node.
    Pool(NodeId, PoolId),
}

impl Target {
    /// The node it is, or is on.
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

/// An operator's wish that something takes no new work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Since when.
    pub since: Duration,
    /// Until when running requests should have finished. The registry shows it; ending them is up
    /// to others.
    pub deadline: Option<Duration>,
}

/// All wishes about one node. They outlive the node's lives, and its absence for as long as it is
/// remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) node: Option<Drain>,
    pub(crate) pools: BTreeMap<PoolId, Drain>,
    /// The node is unknown: when to forget its wishes too.
    pub(crate) forget_at: Option<Duration>,
}

impl Intent {
    pub(crate) fn is_empty(&self) -> bool {
        self.node.is_none() && self.pools.is_empty()
    }

    /// The wish that holds for `pool`: its own, or else its node's.
    pub(crate) fn of_pool(&self, pool: &PoolId) -> Option<Drain> {
        self.pools.get(pool).copied().or(self.node)
    }
}
