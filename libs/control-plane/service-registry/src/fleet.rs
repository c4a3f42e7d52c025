//! How many nodes and pools there are: counted as they change, so that nobody has to walk over
//! them.

use pool_registry_types::NodeStatus;

/// The fleet in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FleetSummary {
    /// Nodes that are online.
    pub online: usize,
    /// Nodes that drain.
    pub draining: usize,
    /// Nodes that report and cannot be reached.
    pub unreachable: usize,
    /// Nodes that are silent.
    pub offline: usize,
    /// Pools of all nodes.
    pub pools: usize,
    /// Most nodes fell silent together, and those that did are held routable.
    pub self_suspicion: bool,
}

impl FleetSummary {
    /// All nodes that are known.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.speaking() + self.lost()
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

    pub(crate) fn speaking(&self) -> usize {
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
