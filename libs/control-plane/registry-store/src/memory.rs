//! A store in memory: for tests, and for processes without a disk.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use pool_registry_types::NodeId;

use crate::{Change, RegistryStore, StoreError, StoredNode};

/// Keeps everything in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    nodes: Mutex<BTreeMap<NodeId, Arc<StoredNode>>>,
}

impl RegistryStore for MemoryStore {
    fn load(&self) -> Result<Vec<StoredNode>, StoreError> {
        let nodes = self.nodes.lock();
        Ok(nodes.values().map(|node| StoredNode::clone(node)).collect())
    }

    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut nodes = self.nodes.lock();
        for change in changes {
            match change {
                Change::Put(node) => nodes.insert(node.node_id().clone(), Arc::clone(node)),
                Change::Remove(node_id) => nodes.remove(node_id),
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: KEEP-11
    #[test]
    fn the_store_in_memory_passes_the_suite() {
        crate::conformance::check(|| Box::new(MemoryStore::default()));
    }
}
