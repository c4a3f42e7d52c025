//! What changed between two reports of a node's pools.

use std::collections::HashMap;

use pool_registry_types::{NodeId, PoolId, PoolStatus, ReplicaId};

use crate::{EventKind, NewEvent};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    ready: bool,
    draining: bool,
    /// Those that are ready.
    ready_replicas: Box<[ReplicaId]>,
}

impl Known {
    fn of(status: &PoolStatus) -> Self {
        let replicas = status.replicas.iter().flatten();
        Self {
            ready: status.ready,
            draining: status.draining,
            ready_replicas: replicas
                .filter(|replica| replica.ready)
                .map(|replica| replica.replica_id.clone())
                .collect(),
        }
    }
}

/// Remembers the last report of each node, to find changes. Pure.
#[derive(Debug, Default)]
pub struct PoolChanges {
    /// Lists, because there are many nodes and most have one pool or two.
    nodes: HashMap<NodeId, Box<[(PoolId, Known)]>>,
}

impl PoolChanges {
    /// Takes the report of a node. A pool seen for the first time is an event if it is ready.
    pub fn reported<'a>(
        &mut self,
        node_id: &NodeId,
        pools: impl IntoIterator<Item = &'a PoolStatus>,
    ) -> Vec<NewEvent> {
        let before = self.nodes.remove(node_id).unwrap_or_default();
        let before: HashMap<PoolId, Known> = before.into_iter().collect();
        let mut after = HashMap::new();
        let mut events = Vec::new();
        for pool in pools {
            let now = Known::of(pool);
            compare(pool, before.get(&pool.pool_id), &now, &mut events);
            after.insert(pool.pool_id.clone(), now);
        }
        let gone = before
            .iter()
            .filter(|(pool_id, _)| !after.contains_key(*pool_id));
        let mut gone: Vec<&PoolId> = gone
            .filter(|(_, known)| known.ready)
            .map(|(pool_id, _)| pool_id)
            .collect();
        gone.sort_unstable();
        let gone = gone.into_iter();
        events.extend(gone.map(|pool_id| {
            NewEvent::new(EventKind::PoolNotReady, "the pool is gone").pool(pool_id)
        }));
        self.nodes
            .insert(node_id.clone(), after.into_iter().collect());
        events
            .into_iter()
            .map(|events| events.node(node_id))
            .collect()
    }

    /// Forgets a node.
    pub fn left(&mut self, node_id: &NodeId) {
        self.nodes.remove(node_id);
    }
}

fn compare(pool: &PoolStatus, before: Option<&Known>, now: &Known, events: &mut Vec<NewEvent>) {
    let was_ready = before.is_some_and(|before| before.ready);
    let was_draining = before.is_some_and(|before| before.draining);
    let mut publish =
        |kind, message: String| events.push(NewEvent::new(kind, message).pool(&pool.pool_id));
    for replica in pool
        .replicas
        .iter()
        .flatten()
        .filter(|replica| !replica.ready)
    {
        let was_ready =
            before.is_some_and(|before| before.ready_replicas.contains(&replica.replica_id));
        if let (true, Some(error)) = (was_ready, &replica.last_error) {
            publish(
                EventKind::EngineFailed,
                format!("engine {}: {error}", replica.replica_id),
            );
        }
    }
    match (was_ready, now.ready) {
        (false, true) => publish(EventKind::PoolReady, ready(pool)),
        (true, false) => publish(
            EventKind::PoolNotReady,
            pool.last_error
                .as_deref()
                .unwrap_or("no engine is ready")
                .to_owned(),
        ),
        _ => {}
    }
    match (was_draining, now.draining) {
        (false, true) => publish(
            EventKind::PoolDrained,
            "the node takes no new requests for it".to_owned(),
        ),
        (true, false) => publish(
            EventKind::PoolUndrained,
            "the node takes new requests for it".to_owned(),
        ),
        _ => {}
    }
}

fn ready(pool: &PoolStatus) -> String {
    let slots = pool.slots_total();
    match pool.models_available.as_deref() {
        Some(models) if !models.is_empty() => format!("{slots} slots for {}", models.join(", ")),
        _ => format!("{slots} slots"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pool(ready: bool, draining: bool, error: Option<&str>) -> PoolStatus {
        let replica = json!({
            "replica_id": "r0", "ready": error.is_none(), "slots_free": 4, "slots_total": 4,
            "last_error": error,
        });
        let pool = json!({
            "pool_id": "p", "ready": ready, "draining": draining, "slots_free": 4, "slots_total": 4,
            "vram_free_bytes": 0, "models_available": ["tiny"], "replicas": [replica],
            "last_error": error,
        });
        serde_json::from_value(pool).unwrap()
    }

    fn events_of(changes: &mut PoolChanges, pools: &[PoolStatus]) -> Vec<String> {
        let node = NodeId::new("n").unwrap();
        changes
            .reported(&node, pools)
            .into_iter()
            .map(|events| {
                assert_eq!(events.node_id.as_ref(), Some(&node));
                format!("{} {}", events.kind.as_str(), events.message)
            })
            .collect()
    }

    // spec: SEE-5
    #[test]
    fn only_what_changed_is_news() {
        let mut changes = PoolChanges::default();
        let nothing: [&str; 0] = [];
        assert_eq!(
            events_of(&mut changes, &[pool(false, false, None)]),
            nothing
        );
        let ready = [pool(true, false, None)];
        assert_eq!(
            events_of(&mut changes, &ready),
            ["pool_ready 4 slots for tiny"]
        );
        assert_eq!(events_of(&mut changes, &ready), nothing);
        assert_eq!(
            events_of(&mut changes, &[pool(false, false, Some("refused"))]),
            ["engine_failed engine r0: refused", "pool_not_ready refused"]
        );
        assert_eq!(
            events_of(&mut changes, &[pool(true, true, None)]),
            [
                "pool_ready 4 slots for tiny",
                "pool_drained the node takes no new requests for it"
            ]
        );
        assert_eq!(
            events_of(&mut changes, &ready),
            ["pool_undrained the node takes new requests for it"]
        );
        assert_eq!(
            events_of(&mut changes, &[]),
            ["pool_not_ready the pool is gone"]
        );
    }
}
