//! What a heartbeat says of each pool.

use std::collections::BTreeSet;

use pool_registry_types::{
    MAX_MODELS, MAX_REPLICAS, MAX_SLOTS, MAX_TEXT_BYTES, PoolId, PoolStatus, ReplicaId,
    ReplicaStatus, Slots as ReportedSlots,
};

use crate::{
    absent,
    core::{Core, NO_ENGINE, Pool},
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

/// The slots that belong to a claimed one, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClaimedSlots {
    /// Those of its pool.
    pub pool: Slots,
    /// Those of its replica; `None` when that has been replaced or removed since.
    pub replica: Option<Slots>,
}

impl Core {
    /// The slots of one life of a replica, as a heartbeat says them; `None` when it is over.
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

    /// The slots of one pool. What still runs where nothing new may begin counts as taken, so that
    /// whoever sent it does not think that it takes the slots of others.
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
        for (replica_id, sleeper) in pool.sleepers() {
            if !pool.drained.contains(replica_id) {
                add(sleeper.free_slots(), sleeper.handoff.slots);
            }
        }
        for retired in self
            .retired
            .iter()
            .filter(|retired| retired.handoff.pool_id == *id)
        {
            // One that was announced anew has them counted already.
            let is_live = |replica: &Replica| replica.handoff.url == retired.handoff.url;
            if !pool.replicas.values().any(is_live) {
                add(0, retired.claimed);
            }
        }
        // More than a heartbeat can say is no use to anybody, and refused by the control plane.
        Slots {
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
        let awake = (pool.replicas.values()).any(|replica| replica.not_ready().is_none());
        let asleep = pool.sleepers().next().map(|(_, sleeper)| &sleeper.handoff);
        let ready = awake || asleep.is_some();
        let slots = self.pool_slots(id, pool);
        let first = pool.replicas.values().next();
        let mut status =
            PoolStatus::new(id.clone()).with_slots(ReportedSlots::clamped(slots.free, slots.total));
        status.ready = ready;
        status.draining = self.is_draining(pool) || pool.is_drained_one_by_one();
        status.vram_free_bytes = pool.vram_free_bytes;
        status.engine = (first.map(|replica| &replica.handoff).or(asleep))
            .map(|handoff| handoff.engine.clone());
        status.engine_version = (pool.replicas.values())
            .find_map(Replica::engine_version)
            .map(str::to_owned);
        status.models_available = models(pool);
        status.replicas = Some(self.replica_statuses(id, pool));
        status.last_error = (!ready).then(|| {
            first
                .and_then(Replica::not_ready)
                .or_else(|| pool.absent.values().next())
                .map_or(NO_ENGINE, |reason| reason)
                .to_owned()
        });
        status.device_mask = device_mask(pool);
        status.sleeping = asleep.is_some() && !awake;
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
            replica_status.last_error = replica.trouble();
            replica_status.draining = is_drained(&replica.handoff.replica_id);
            replica_status.load = replica.load().clone();
            replica_status.generation = Some(replica.generation);
            replica_status
        });
        let asleep =
            (pool.sleepers()).map(|(replica_id, sleeper)| sleeper.status(is_drained(replica_id)));
        let mut statuses: Vec<_> = live.chain(asleep).collect();
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
                    .with_slots(ReportedSlots::clamped(0, handoff.slots));
                replica.last_error =
                    Some("its handoff is gone; it is kept until its last request ends".to_owned());
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

/// The models of all replicas, ready or not: a model does not cease to exist while its engine
/// restarts.
fn models(pool: &Pool) -> Option<Vec<String>> {
    let known = || {
        let live = (pool.replicas.values())
            .filter_map(|replica| replica.models().map(|models| &models[..]));
        let asleep = (pool.sleepers()).filter_map(|(_, sleeper)| sleeper.handoff.models.as_deref());
        live.chain(asleep)
    };
    known().next()?;
    let union: BTreeSet<&String> = known().flatten().collect();
    Some(union.into_iter().take(MAX_MODELS).cloned().collect())
}

fn device_mask(pool: &Pool) -> Option<String> {
    let live = pool.replicas.values().map(|replica| &replica.handoff);
    let asleep = pool.sleepers().map(|(_, sleeper)| &sleeper.handoff);
    let masks: BTreeSet<&str> = live
        .chain(asleep)
        .filter_map(|handoff| handoff.device_mask.as_deref())
        .collect();
    let mut text = masks.into_iter().collect::<Vec<_>>().join(",");
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    (!text.is_empty()).then_some(text)
}
