//! A store in memory: for tests, and for processes without a disk.

use std::{collections::BTreeMap, sync::Arc};

use access_keys::{AccessKey, Effect};
use join_tokens::{Effect as JoinEffect, JoinToken, NodeCredentials};
use parking_lot::Mutex;
use pool_registry_types::NodeId;

use crate::{
    Change, JoinStore, KeyStore, RegistryStore, StateStore, StoreError, StoredNode, StoredState,
};

/// Keeps everything in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    nodes: Mutex<Nodes>,
    keys: Mutex<Keys>,
    joins: Mutex<Joins>,
}

type Nodes = BTreeMap<NodeId, Arc<StoredNode>>;
type Keys = BTreeMap<Arc<str>, Arc<AccessKey>>;

#[derive(Debug, Default)]
struct Joins {
    tokens: BTreeMap<Arc<str>, Arc<JoinToken>>,
    revoked: BTreeMap<NodeId, Arc<NodeCredentials>>,
}

fn records<K, T: Clone>(of: &BTreeMap<K, Arc<T>>) -> Vec<T> {
    of.values().map(|record| T::clone(record)).collect()
}

impl StateStore for MemoryStore {
    fn load_all(&self) -> Result<StoredState, StoreError> {
        // No other method holds two locks.
        let (nodes, keys, joins) = (self.nodes.lock(), self.keys.lock(), self.joins.lock());
        Ok(StoredState {
            nodes: records(&nodes),
            keys: records(&keys),
            join_tokens: records(&joins.tokens),
            node_credentials: records(&joins.revoked),
        })
    }
}

impl RegistryStore for MemoryStore {
    fn load(&self) -> Result<Vec<StoredNode>, StoreError> {
        Ok(records(&self.nodes.lock()))
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

impl KeyStore for MemoryStore {
    fn load_keys(&self) -> Result<Vec<AccessKey>, StoreError> {
        Ok(records(&self.keys.lock()))
    }

    fn apply_keys(&self, changes: &[Effect]) -> Result<(), StoreError> {
        let mut keys = self.keys.lock();
        for change in changes {
            match change {
                Effect::Save(key) => keys.insert(Arc::clone(&key.key_id), Arc::clone(key)),
                Effect::Forget(key_id) => keys.remove(key_id),
            };
        }
        Ok(())
    }
}

impl JoinStore for MemoryStore {
    fn load_joins(&self) -> Result<(Vec<JoinToken>, Vec<NodeCredentials>), StoreError> {
        let joins = self.joins.lock();
        Ok((records(&joins.tokens), records(&joins.revoked)))
    }

    fn apply_joins(&self, changes: &[JoinEffect]) -> Result<(), StoreError> {
        let mut joins = self.joins.lock();
        for change in changes {
            match change {
                JoinEffect::SaveToken(token) => {
                    let token_id = Arc::clone(&token.token_id);
                    joins.tokens.insert(token_id, Arc::clone(token));
                }
                JoinEffect::ForgetToken(token_id) => {
                    joins.tokens.remove(token_id);
                }
                JoinEffect::SaveNode(node) => {
                    joins.revoked.insert(node.node_id.clone(), Arc::clone(node));
                }
                JoinEffect::ForgetNode(node_id) => {
                    joins.revoked.remove(node_id);
                }
            }
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
        crate::conformance::check_keys(|| Box::new(MemoryStore::default()));
        crate::conformance::check_joins(|| Box::new(MemoryStore::default()));
        crate::conformance::check_all(|| Box::new(MemoryStore::default()));
    }
}
