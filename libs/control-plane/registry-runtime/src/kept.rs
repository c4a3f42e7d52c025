//! What the store has, in as few bytes as it takes to notice a difference.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    time::SystemTime,
};

use pool_registry_types::NodeId;
use registry_store::{Change, StoredNode};
use service_registry::KnownNode;

/// A digest of each record that the store has. Its key is of this process, so that no node can make
/// two records that look the same.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    digests: HashMap<NodeId, u64>,
    key: RandomState,
    /// How many nodes operators drain, in part or as a whole, when this was made.
    drained: usize,
}

impl Kept {
    /// What the store has, and what the registry is to know of it.
    pub(crate) fn from_store(stored: &[StoredNode], now: SystemTime) -> (Self, Vec<KnownNode>) {
        let mut kept = Self::default();
        for node in stored {
            let digest = kept.digest(node);
            kept.digests.insert(node.node_id().clone(), digest);
            kept.drained += usize::from(node.is_drained());
        }
        let known = stored.iter().map(|node| node.known(now)).collect();
        (kept, known)
    }

    pub(crate) fn len(&self) -> usize {
        self.digests.len()
    }

    pub(crate) fn drained(&self) -> usize {
        self.drained
    }

    /// Whether the change would make a difference.
    pub(crate) fn differs(&self, change: &Change) -> bool {
        match change {
            Change::Put(node) => self.digests.get(node.node_id()) != Some(&self.digest(node)),
            Change::Remove(node_id) => self.digests.contains_key(node_id),
        }
    }

    /// The change is made.
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
        // A record that cannot be written is one that the store refuses.
        self.key
            .hash_one(serde_json::to_vec(node).unwrap_or_default())
    }
}

/// Which node a change is about.
pub(crate) fn subject(change: &Change) -> &NodeId {
    match change {
        Change::Put(node) => node.node_id(),
        Change::Remove(node_id) => node_id,
    }
}
