//! The state of the store, as digests that are enough to notice a difference.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    time::SystemTime,
};

use pool_registry_types::NodeId;
use registry_store::{Change, StoredNode};
use service_registry::PersistedNode;

/// A digest of each record in the store. The hash has a random key, so that no node can make two
/// different records with the same digest.
#[derive(Debug, Default)]
pub(crate) struct StoredState {
    digests: HashMap<NodeId, u64>,
    key: RandomState,
    /// Nodes that were drained, in part or as a whole, when this was loaded.
    drained: usize,
}

impl StoredState {
    /// The state of the store, and the nodes for the registry.
    pub(crate) fn load(stored: &[StoredNode], now: SystemTime) -> (Self, Vec<PersistedNode>) {
        let mut state = Self::default();
        for node in stored {
            let digest = state.digest(node);
            state.digests.insert(node.node_id().clone(), digest);
            state.drained += usize::from(node.is_drained());
        }
        let nodes = stored.iter().map(|node| node.to_persisted(now)).collect();
        (state, nodes)
    }

    pub(crate) fn len(&self) -> usize {
        self.digests.len()
    }

    pub(crate) fn drained(&self) -> usize {
        self.drained
    }

    /// Whether the change makes a difference to the store.
    pub(crate) fn differs(&self, change: &Change) -> bool {
        match change {
            Change::Put(node) => self.digests.get(node.node_id()) != Some(&self.digest(node)),
            Change::Remove(node_id) => self.digests.contains_key(node_id),
        }
    }

    /// Notes that the store has the change.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(node) => {
                let digest = self.digest(node);
                self.digests.insert(node.node_id().clone(), digest);
            }
            Change::Remove(node_id) => {
                self.digests.remove(node_id);
            }
        }
    }

    fn digest(&self, node: &StoredNode) -> u64 {
        // The store refuses a record that cannot be serialised.
        self.key
            .hash_one(serde_json::to_vec(node).unwrap_or_default())
    }
}

/// The node of a change.
pub(crate) fn node_of(change: &Change) -> &NodeId {
    match change {
        Change::Put(node) => node.node_id(),
        Change::Remove(node_id) => node_id,
    }
}
