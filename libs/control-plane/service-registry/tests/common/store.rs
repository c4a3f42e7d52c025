//! What a store would have that is told only what was dirty.

use std::{collections::BTreeMap, time::Duration};

use pool_registry_types::NodeId;
use service_registry::PersistedNode;

use super::World;

/// Times in it are as the registry's clock counts them.
#[derive(Default)]
pub struct Store(BTreeMap<NodeId, PersistedNode>);

impl Store {
    pub fn follow(&mut self, world: &mut World) {
        for node_id in world.registry.take_dirty() {
            match world.registry.persisted_node(&node_id) {
                Some(known) => self.0.insert(node_id, absolute(known, world.now)),
                None => self.0.remove(&node_id),
            };
        }
    }

    /// It must have what the registry knows, but for what is to be forgotten by now.
    pub fn agree(&self, world: &World) {
        let due = |known: &PersistedNode| known.forget_in.is_some_and(|at| at <= world.now);
        let stored: Vec<_> = self
            .0
            .values()
            .filter(|known| !due(known))
            .cloned()
            .collect();
        let known = world.registry.persisted_nodes().into_iter();
        let known: Vec<_> = known
            .map(|known| absolute(known, world.now))
            .filter(|known| !due(known))
            .collect();
        assert_eq!(stored, known);
    }
}

/// Drains have no deadlines here, so this is the only time in it.
fn absolute(known: PersistedNode, now: Duration) -> PersistedNode {
    PersistedNode {
        forget_in: known.forget_in.map(|left| now + left),
        ..known
    }
}
