//! What a heartbeat says of each pool.

use std::collections::BTreeSet;

use pool_registry_types::{MAX_MODELS, MAX_SLOTS, PoolId, PoolStatus, ReplicaStatus};

use crate::{
    absent,
    core::{Core, MAX_REPLICAS, NO_ENGINE, Pool},
    replica::Replica,
};

/// The longest device mask a heartbeat carries, in bytes.
const MAX_DEVICE_MASK_BYTES: usize = 256;

/// The slots of a pool's ready replicas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolSlots {
    /// Those that are free now.
    pub free: u32,
    /// All of them.
    pub total: u32,
}

impl Core {
    /// The slots of one pool.
    pub(crate) fn pool_slots(&self, pool: &Pool) -> PoolSlots {
        let mut slots = PoolSlots::default();
        for replica in pool
            .replicas
            .values()
            .filter(|replica| replica.not_ready().is_none())
        {
            slots.free = slots.free.saturating_add(self.free_slots(replica));
            slots.total = slots.total.saturating_add(replica.slots());
        }
        // More than a heartbeat can say is no use to anybody, and refused by the control plane.
        PoolSlots {
            free: slots.free.min(MAX_SLOTS),
            total: slots.total.min(MAX_SLOTS),
        }
    }

    /// Every pool, in order of its id.
    pub(crate) fn statuses(&self) -> Vec<PoolStatus> {
        self.pools
            .iter()
            .map(|(id, pool)| self.pool_status(id, pool))
            .collect()
    }

    fn pool_status(&self, id: &PoolId, pool: &Pool) -> PoolStatus {
        let ready = pool
            .replicas
            .values()
            .any(|replica| replica.not_ready().is_none());
        let slots = self.pool_slots(pool);
        let first = pool.replicas.values().next();
        PoolStatus {
            pool_id: id.clone(),
            ready,
            draining: self.is_draining(pool),
            slots_free: slots.free,
            slots_total: slots.total,
            vram_free_bytes: pool.vram_free_bytes,
            engine: first.map(|replica| replica.handoff.engine.clone()),
            engine_version: (pool.replicas.values())
                .find_map(Replica::engine_version)
                .map(str::to_owned),
            models_available: models(pool),
            replicas: Some(self.replica_statuses(id, pool)),
            last_error: (!ready).then(|| {
                first
                    .and_then(Replica::not_ready)
                    .or_else(|| pool.absent.values().next())
                    .map_or(NO_ENGINE, |reason| reason)
                    .to_owned()
            }),
            device_mask: device_mask(pool),
        }
    }

    fn replica_statuses(&self, id: &PoolId, pool: &Pool) -> Vec<ReplicaStatus> {
        let live = pool.replicas.values().map(|replica| ReplicaStatus {
            ready: replica.not_ready().is_none(),
            slots_free: replica
                .not_ready()
                .map_or_else(|| self.free_slots(replica), |_| 0),
            slots_total: replica.slots(),
            slots_promised: replica.slots_promised(),
            models: replica.models().map(|models| models.to_vec()),
            last_error: replica.not_ready().map(|reason| reason.as_ref().to_owned()),
            load: replica.load().clone(),
            replica_id: replica.handoff.replica_id.clone(),
        });
        let mut statuses: Vec<_> = live.collect();
        for retired in self
            .retired
            .iter()
            .filter(|retired| retired.handoff.pool_id == *id)
        {
            let handoff = &retired.handoff;
            if statuses
                .iter()
                .all(|status| status.replica_id != handoff.replica_id)
            {
                statuses.push(ReplicaStatus {
                    slots_total: handoff.slots,
                    last_error: Some(
                        "its handoff is gone; it is kept until its last request ends".to_owned(),
                    ),
                    ..ReplicaStatus::new(handoff.replica_id.clone())
                });
            }
        }
        for (replica_id, reason) in &pool.absent {
            if statuses.iter().all(|status| status.replica_id != *replica_id) {
                statuses.push(absent::status(replica_id, reason));
            }
        }
        statuses.truncate(MAX_REPLICAS);
        statuses
    }
}

/// The models of all replicas, ready or not: a model does not cease to exist while its engine restarts.
fn models(pool: &Pool) -> Option<Vec<String>> {
    let known = || pool.replicas.values().filter_map(Replica::models);
    known().next()?;
    let union: BTreeSet<&String> = known().flat_map(|models| models.iter()).collect();
    Some(union.into_iter().take(MAX_MODELS).cloned().collect())
}

fn device_mask(pool: &Pool) -> Option<String> {
    let masks: BTreeSet<&str> = pool
        .replicas
        .values()
        .filter_map(|replica| replica.handoff.device_mask.as_deref())
        .collect();
    let mut text = masks.into_iter().collect::<Vec<_>>().join(",");
    text.truncate(text.floor_char_boundary(MAX_DEVICE_MASK_BYTES));
    (!text.is_empty()).then_some(text)
}
