//! What the store should have, as the registry's task hands it to the keeper.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use pool_registry_types::NodeId;
use registry_store::{Change, StoredNode};
use service_registry::KnownNode;

/// What the store should have. Clones share it, until one is changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Arc<BTreeMap<NodeId, Arc<StoredNode>>>);

impl Kept {
    pub(crate) fn from_store(stored: Vec<StoredNode>) -> Self {
        let by_id = |node: StoredNode| (node.node_id().clone(), Arc::new(node));
        Self(Arc::new(stored.into_iter().map(by_id).collect()))
    }

    /// For the registry, at `now`.
    pub(crate) fn known(&self, now: SystemTime) -> Vec<KnownNode> {
        self.0.values().map(|node| node.known(now)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many nodes operators drain, in part or as a whole.
    pub(crate) fn drained(&self) -> usize {
        self.0.values().filter(|node| node.is_drained()).count()
    }

    /// Whether that made a difference.
    pub(crate) fn set(&mut self, node_id: NodeId, node: Option<StoredNode>) -> bool {
        if self.0.get(&node_id).map(|node| &**node) == node.as_ref() {
            return false;
        }
        let nodes = Arc::make_mut(&mut self.0);
        match node {
            Some(node) => nodes.insert(node_id, Arc::new(node)),
            None => nodes.remove(&node_id),
        };
        true
    }

    /// What makes `before` into this. Of the nodes that `unsure` names nobody knows what the store has.
    pub(crate) fn changes_since(&self, before: &Self, unsure: &BTreeSet<NodeId>) -> Vec<Change> {
        let puts = self.0.iter().filter(|(node_id, node)| {
            let same = before
                .0
                .get(*node_id)
                .is_some_and(|before| Arc::ptr_eq(before, node));
            !same || unsure.contains(*node_id)
        });
        let removals = before
            .0
            .keys()
            .chain(unsure)
            .filter(|node_id| !self.0.contains_key(*node_id))
            .collect::<BTreeSet<_>>();
        puts.map(|(_, node)| Change::Put(Arc::clone(node)))
            .chain(removals.into_iter().cloned().map(Change::Remove))
            .collect()
    }
}

/// Which node a change is about.
pub(crate) fn subject(change: &Change) -> &NodeId {
    match change {
        Change::Put(node) => node.node_id(),
        Change::Remove(node_id) => node_id,
    }
}
