//! A store in memory: for tests, and for processes without a disk.

use std::{collections::BTreeMap, sync::Arc};

use access_keys::{AccessKey, Effect};
use join_tokens::{Effect as JoinEffect, JoinToken, RevokedNode};
use parking_lot::Mutex;
use pool_registry_types::NodeId;

use crate::{Change, JoinStore, KeyStore, RegistryStore, StoreError, StoredNode};

/// Keeps everything in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    nodes: Mutex<BTreeMap<NodeId, Arc<StoredNode>>>,
    keys: Mutex<BTreeMap<Arc<str>, Arc<AccessKey>>>,
    joins: Mutex<Joins>,
}

#[derive(Debug, Default)]
struct Joins {
    tokens: BTreeMap<Arc<str>, Arc<JoinToken>>,
    revoked: BTreeMap<NodeId, Arc<RevokedNode>>,
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

impl KeyStore for MemoryStore {
    fn load_keys(&self) -> Result<Vec<AccessKey>, StoreError> {
        let keys = self.keys.lock();
        Ok(keys.values().map(|key| AccessKey::clone(key)).collect())
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
    fn load_joins(&self) -> Result<(Vec<JoinToken>, Vec<RevokedNode>), StoreError> {
        let joins = self.joins.lock();
        let tokens = joins.tokens.values();
        let revoked = joins.revoked.values();
        Ok((
            tokens.map(|token| JoinToken::clone(token)).collect(),
            revoked.map(|node| RevokedNode::clone(node)).collect(),
        ))
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
                JoinEffect::SaveRevoked(node) => {
                    joins.revoked.insert(node.node_id.clone(), Arc::clone(node));
                }
                JoinEffect::ForgetRevoked(node_id) => {
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
    }
}
