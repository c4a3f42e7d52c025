//! One deadline per node, the earliest first.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use pool_registry_types::NodeId;

/// When something is due, for each node that has anything due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Deadlines {
    by_node: BTreeMap<NodeId, Duration>,
    in_order: BTreeSet<(Duration, NodeId)>,
}

impl Deadlines {
    /// Sets the node's deadline in place of the one it had.
    pub(crate) fn set(&mut self, node: &NodeId, at: Duration) {
        if let Some(before) = self.by_node.insert(node.clone(), at) {
            self.in_order.remove(&(before, node.clone()));
        }
        self.in_order.insert((at, node.clone()));
    }

    pub(crate) fn remove(&mut self, node: &NodeId) {
        if let Some(before) = self.by_node.remove(node) {
            self.in_order.remove(&(before, node.clone()));
        }
    }

    pub(crate) fn first(&self) -> Option<Duration> {
        self.in_order.first().map(|(at, _)| *at)
    }

    pub(crate) fn of(&self, node: &NodeId) -> Option<Duration> {
        self.by_node.get(node).copied()
    }

    /// Takes out the earliest deadline that has come.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<NodeId> {
        if self.first()? > now {
            return None;
        }
        let (_, node) = self.in_order.pop_first()?;
        self.by_node.remove(&node);
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: LIVE-1
    #[test]
    fn one_deadline_per_node_and_the_earliest_first() {
        let [a, b] = ["a", "b"].map(|id| NodeId::new(id).unwrap());
        let second = Duration::from_secs;
        let mut deadlines = Deadlines::default();
        deadlines.set(&a, second(1));
        deadlines.set(&b, second(2));
        deadlines.set(&a, second(3));
        assert_eq!(deadlines.first(), Some(second(2)));
        assert_eq!(deadlines.pop_due(second(1)), None);
        assert_eq!(deadlines.pop_due(second(9)), Some(b));
        assert_eq!(deadlines.of(&a), Some(second(3)));
        deadlines.remove(&a);
        assert_eq!(deadlines, Deadlines::default());
    }
}
