//! The numbers of nodes and pools, counted as they change.

use pool_registry_types::NodeStatus;

/// The numbers of nodes and pools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetSummary {
    /// Nodes that are online.
    pub online: usize,
    /// Nodes that drain.
    pub draining: usize,
    /// Nodes that report but cannot be reached.
    pub unreachable: usize,
    /// Nodes that are silent.
    pub offline: usize,
    /// Pools of all nodes.
    pub pools: usize,
    /// Whether more than half of the nodes fell silent together, so that they stay routable.
    pub self_suspicion: bool,
}

impl FleetSummary {
    /// All known nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.reachable() + self.lost()
    }

    /// The nodes with that status.
    #[must_use]
    pub fn with_status(&self, status: NodeStatus) -> usize {
        match status {
            NodeStatus::Online => self.online,
            NodeStatus::Draining => self.draining,
            NodeStatus::Unreachable => self.unreachable,
            NodeStatus::Offline => self.offline,
        }
    }

    pub(crate) fn reachable(&self) -> usize {
        self.online + self.draining
    }

    fn lost(&self) -> usize {
        self.unreachable + self.offline
    }

    fn count(&mut self, status: NodeStatus) -> &mut usize {
        match status {
            NodeStatus::Online => &mut self.online,
            NodeStatus::Draining => &mut self.draining,
            NodeStatus::Unreachable => &mut self.unreachable,
            NodeStatus::Offline => &mut self.offline,
        }
    }

    pub(crate) fn joined(&mut self, status: NodeStatus, pools: usize) {
        *self.count(status) += 1;
        self.pools += pools;
    }

    pub(crate) fn left(&mut self, status: NodeStatus, pools: usize) {
        *self.count(status) -= 1;
        self.pools -= pools;
    }

    pub(crate) fn moved(&mut self, from: NodeStatus, to: NodeStatus) {
        *self.count(from) -= 1;
        *self.count(to) += 1;
    }

    pub(crate) fn changed_pools(&mut self, before: usize, after: usize) {
        self.pools = self.pools - before + after;
    }
}
