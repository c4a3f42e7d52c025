//! The status of each pool for a heartbeat.

use std::collections::BTreeSet;

use pool_registry_types::{
    ErrorText, MAX_MODELS, MAX_REPLICAS, MAX_SLOTS, ModelName, PoolId, PoolStatus, ReplicaId,
    ReplicaStatus, Slots as ReportedSlots, Text,
};

use crate::{
    absent,
    core::{NO_ENGINE, Pool, RegistryCore},
    replica::Replica,
};

/// The slots of a replica, or of a pool's ready replicas together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slots {
    /// Those that are free now.
    pub free: u32,
    /// All of them.
    pub total: u32,
}

/// The slots of the pool and replica of a lease, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClaimedSlots {
    /// Those of its pool.
    pub pool: Slots,
    /// Those of its replica; `None` when that has been replaced or removed since.
    pub replica: Option<Slots>,
}

/// How much a pool is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolUsage {
    /// Number of claims since the start.
    pub claims: u64,
    /// Requests that run now.
    pub running: u64,
}

impl RegistryCore {
    /// The slots of one generation of a replica; `None` when that generation is gone.
    pub(crate) fn replica_slots(
        &self,
        pool: &Pool,
        replica_id: &ReplicaId,
        generation: u64,
    ) -> Option<Slots> {
        let replica = pool.replicas.get(replica_id)?;
        (replica.generation == generation).then(|| Slots {
            free: self.offered_slots(pool, replica),
            total: replica.slots(),
        })
    }

    /// The slots of a replica that a new request could take.
    fn offered_slots(&self, pool: &Pool, replica: &Replica) -> u32 {
        if replica.not_ready().is_none() && !pool.drained.contains(&replica.handoff.replica_id) {
            self.free_slots(replica)
        } else {
            0
        }
    }

    /// The slots of one pool. A replica that takes no new requests counts with its running ones, as
    /// taken slots. Otherwise the control plane would subtract them from the slots of other
    /// replicas.
    pub(crate) fn pool_slots(&self, id: &PoolId, pool: &Pool) -> Slots {
        let mut slots = Slots::default();
        let mut add = |free: u32, total: u32| {
            slots.free = slots.free.saturating_add(free);
            slots.total = slots.total.saturating_add(total);
        };
        for (replica_id, replica) in &pool.replicas {
            if replica.not_ready().is_none() && !pool.drained.contains(replica_id) {
                add(self.free_slots(replica), replica.slots());
            } else {
                add(0, self.busy_slots(replica));
            }
        }
        for (replica_id, replica) in pool.scaled_to_zero_replicas() {
            if !pool.drained.contains(replica_id) {
                add(replica.free_slots(), replica.handoff.slots());
            }
        }
        for retired in self
            .retired
            .iter()
            .filter(|retired| retired.handoff.pool_id == *id)
        {
            // A live replica at the same URL has counted them already.
            let is_live = |replica: &Replica| replica.handoff.url == retired.handoff.url;
            if !pool.replicas.values().any(is_live) {
                add(0, retired.claimed);
            }
        }
        // The control plane rejects a heartbeat with more.
        Slots {
            free: slots.free.min(MAX_SLOTS),
            total: slots.total.min(MAX_SLOTS),
        }
    }

    /// Every pool, in order of its id.
    pub(crate) fn statuses(&self) -> Vec<PoolStatus> {
        let is_only = self.pools.len() == 1;
        self.pools
            .iter()
            .filter(|(_, pool)| is_only || !pool.is_placeholder())
            .map(|(id, pool)| self.pool_status(id, pool))
            .collect()
    }

    fn pool_status(&self, id: &PoolId, pool: &Pool) -> PoolStatus {
        let is_running = (pool.replicas.values()).any(|replica| replica.not_ready().is_none());
        let scaled_to_zero = pool
            .scaled_to_zero_replicas()
            .next()
            .map(|(_, replica)| &replica.handoff);
        let ready = is_running || scaled_to_zero.is_some();
        let slots = self.pool_slots(id, pool);
        let first = pool.replicas.values().next();
        let mut status =
            PoolStatus::new(id.clone()).with_slots(ReportedSlots::clamped(slots.free, slots.total));
        status.ready = ready;
        status.draining = self.is_draining(pool) || pool.is_drained_one_by_one();
        status.vram_free_bytes = pool.vram_free_bytes;
        status.engine = (first.map(|replica| &replica.handoff).or(scaled_to_zero))
            .map(|handoff| handoff.engine.clone());
        status.engine_version = (pool.replicas.values())
            .find_map(Replica::engine_version)
            .cloned();
        status.models_available = models(pool);
        status.replicas = Some(self.replica_statuses(id, pool));
        status.last_error = (!ready).then(|| {
            let reason = first
                .and_then(Replica::not_ready)
                .or_else(|| pool.absent.values().next());
            ErrorText::cut(reason.map_or(NO_ENGINE, |reason| reason))
        });
        status.device_mask = device_mask(pool);
        status.placeholder = pool.is_placeholder();
        status.sleeping = scaled_to_zero.is_some() && !is_running;
        status
    }

    fn replica_statuses(&self, id: &PoolId, pool: &Pool) -> Vec<ReplicaStatus> {
        let is_drained = |replica_id: &ReplicaId| pool.drained.contains(replica_id);
        let live = pool.replicas.values().map(|replica| {
            let mut replica_status =
                ReplicaStatus::new(replica.handoff.replica_id.clone()).with_slots(
                    ReportedSlots::clamped(self.offered_slots(pool, replica), replica.slots()),
                );
            replica_status.ready = replica.not_ready().is_none();
            replica_status.slots_promised = replica.slots_promised();
            replica_status.models = replica.models().map(|models| models.to_vec());
            replica_status.last_error = replica.last_error();
            replica_status.draining = is_drained(&replica.handoff.replica_id);
            replica_status.load = replica.load().clone();
            replica_status.generation = Some(replica.generation);
            replica_status.set_context_length(replica.context_length());
            replica_status.owned_by = replica.owned_by().cloned();
            replica_status
        });
        let scaled_to_zero = (pool.scaled_to_zero_replicas())
            .map(|(replica_id, replica)| replica.status(is_drained(replica_id)));
        let mut statuses: Vec<_> = live.chain(scaled_to_zero).collect();
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
                let mut replica = ReplicaStatus::new(handoff.replica_id.clone())
                    .with_slots(ReportedSlots::clamped(0, handoff.slots()));
                replica.last_error = Some(ErrorText::cut(
                    "its handoff is gone; it is kept until its last request ends",
                ));
                replica.draining = is_drained(&handoff.replica_id);
                replica.generation = Some(retired.generation);
                statuses.push(replica);
            }
        }
        for (replica_id, reason) in &pool.absent {
            if statuses
                .iter()
                .all(|status| status.replica_id != *replica_id)
            {
                statuses.push(absent::status(replica_id, reason, is_drained(replica_id)));
            }
        }
        statuses.sort_by(|a, b| a.replica_id.cmp(&b.replica_id));
        statuses.truncate(MAX_REPLICAS);
        statuses
    }
}

/// The models of all replicas, ready or not: a pool keeps its models while an engine restarts.
fn models(pool: &Pool) -> Option<Vec<ModelName>> {
    let known = || {
        let live = (pool.replicas.values())
            .filter_map(|replica| replica.models().map(|models| &models[..]));
        let scaled_to_zero = (pool.scaled_to_zero_replicas())
            .filter_map(|(_, replica)| replica.handoff.models.as_deref());
        live.chain(scaled_to_zero)
    };
    known().next()?;
    let union: BTreeSet<&ModelName> = known().flatten().collect();
    Some(union.into_iter().take(MAX_MODELS).cloned().collect())
}

fn device_mask(pool: &Pool) -> Option<Text> {
    let live = pool.replicas.values().map(|replica| &replica.handoff);
    let scaled_to_zero = pool
        .scaled_to_zero_replicas()
        .map(|(_, replica)| &replica.handoff);
    let masks: BTreeSet<&str> = live
        .chain(scaled_to_zero)
        .filter_map(|handoff| handoff.device_mask.as_deref())
        .collect();
    let masks = masks.into_iter().collect::<Vec<_>>().join(",");
    (!masks.is_empty()).then(|| Text::cut(&masks))
}
