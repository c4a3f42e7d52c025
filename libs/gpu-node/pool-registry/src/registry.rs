//! The registry as others hold it: the core behind a lock, and those who wait for it.

use std::sync::Arc;

use parking_lot::Mutex;
use pool_registry_types::{EngineKind, Handoff, HttpUrl, PoolId, PoolStatus, ReplicaId};
use tokio::sync::{Notify, watch};

use crate::{
    Change, Claim, ClaimError, ClaimedSlots, DrainTarget, ProbeOutcome, PromisedSlot,
    RefusedHandoff, SlotLease, Slots, UnknownTarget, UpsertError,
    core::{Claimed, Core, News},
};

/// The pools and replicas of one node. Clones share the same state.
#[derive(Debug, Clone)]
pub struct PoolRegistry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    core: Mutex<Core>,
    version: watch::Sender<u64>,
    /// Rises when something changed for those who wait for an engine that sleeps, or for whoever
    /// is to wake it.
    sleepers: watch::Sender<u64>,
    idle: Notify,
}

/// How a pool is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Slots that were claimed, ever.
    pub claims: u64,
    /// Requests that run now.
    pub running: u64,
}

/// A replica as whoever probes it needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaTarget {
    /// Its pool.
    pub pool_id: PoolId,
    /// Which of the pool's engines it is.
    pub replica_id: ReplicaId,
    /// Which life of the replica this is; a result for another life is ignored.
    pub generation: u64,
    /// Rises when its handoff changes within one life: the engine may have been restarted.
    pub revision: u64,
    /// Where it listens.
    pub url: HttpUrl,
    /// What kind of engine it is.
    pub engine: EngineKind,
    /// Its handoff declares the models, so that the engine need not be asked.
    pub declares_models: bool,
}

impl PoolRegistry {
    /// A registry whose `configured` pools are reported from the start, not ready while they have
    /// no replica.
    #[must_use]
    pub fn new(configured: Vec<PoolId>) -> Self {
        Self {
            shared: Arc::new(Shared {
                core: Mutex::new(Core::new(configured)),
                version: watch::Sender::new(0),
                sleepers: watch::Sender::new(0),
                idle: Notify::new(),
            }),
        }
    }

    /// Takes in a new or changed handoff: its replica is ready at once.
    ///
    /// # Errors
    /// When the node has more pools, or the pool more replicas, than a heartbeat can carry.
    pub fn upsert(&self, handoff: Handoff) -> Result<(), UpsertError> {
        let news = self.shared.core.lock().upsert(handoff)?;
        self.tell(news);
        self.tell_sleepers();
        Ok(())
    }

    /// Retires a replica: no new work, and forgotten when its last lease is dropped.
    pub fn remove(&self, pool_id: &PoolId, replica_id: &ReplicaId) {
        let news = self.shared.core.lock().remove(pool_id, replica_id);
        self.tell(news);
    }

    /// Takes in what a probe found of the life `generation` of a replica, and says what an operator
    /// wants to know of that, each change once. About another life it is ignored.
    pub fn probed(
        &self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        generation: u64,
        outcome: ProbeOutcome,
    ) -> Vec<Change> {
        let (news, changes) = self
            .shared
            .core
            .lock()
            .probed(pool_id, replica_id, generation, outcome);
        self.tell(news);
        changes
    }

    /// No new claims; running ones finish. Idempotent.
    ///
    /// # Errors
    /// When the pool or the replica is not known.
    pub fn drain(&self, target: &DrainTarget) -> Result<(), UnknownTarget> {
        self.set_draining(target, true)
    }

    /// Takes new claims again. A pool of a node that drains as a whole stays draining with it, and
    /// a replica of a pool. Idempotent.
    ///
    /// # Errors
    /// When the pool or the replica is not known.
    pub fn undrain(&self, target: &DrainTarget) -> Result<(), UnknownTarget> {
        self.set_draining(target, false)
    }

    /// Drains the node: no pool takes new claims, also none that appears later.
    pub fn drain_all(&self) {
        // The node itself is always known.
        let _: Result<(), UnknownTarget> = self.drain(&DrainTarget::Node);
    }

    /// Drains a replica from the moment it appears.
    pub fn drain_before(&self, pool_id: &PoolId, replica_id: ReplicaId) {
        self.shared.core.lock().drain_before(pool_id, replica_id);
    }

    fn set_draining(&self, target: &DrainTarget, draining: bool) -> Result<(), UnknownTarget> {
        let news = self.shared.core.lock().set_draining(target, draining)?;
        self.tell(news);
        self.tell_sleepers();
        Ok(())
    }

    /// Says how much memory of the pool's devices is free, in bytes. Of a pool that is not known it
    /// is ignored.
    pub fn set_vram_free(&self, pool_id: &PoolId, bytes: u64) {
        if let Some(pool) = self.shared.core.lock().pools.get_mut(pool_id) {
            pool.vram_free_bytes = bytes;
        }
    }

    /// Claims a slot for a request to `model`, or to any model.
    ///
    /// The replica is the ready one with the most free slots, of equals the first by id. One whose
    /// models nobody has said is asked only when no replica of the pool names the model.
    ///
    /// # Errors
    /// When no replica can take the request now; the error says why.
    pub fn claim(&self, pool_id: &PoolId, model: Option<&str>) -> Result<SlotLease, ClaimError> {
        self.claim_excluding(pool_id, model, &[])
    }

    /// As [`claim`](Self::claim), of a replica that is none of `excluded`: for another try of a
    /// request.
    ///
    /// # Errors
    /// When no other replica can take the request now; the error says why.
    pub fn claim_excluding(
        &self,
        pool_id: &PoolId,
        model: Option<&str>,
        excluded: &[ReplicaId],
    ) -> Result<SlotLease, ClaimError> {
        let claimed = self
            .shared
            .core
            .lock()
            .claim(pool_id, model, None, excluded)?;
        Ok(self.lease(claimed))
    }

    /// As [`claim_excluding`](Self::claim_excluding), or a promised slot of an engine that sleeps
    /// when none that is awake can take the request. The engine is woken by it.
    ///
    /// The replica `hint` is taken when it can take the request at once; of those that sleep it is
    /// preferred. Whatever else it names is ignored: the chooser may have seen an older state
    /// of the pool.
    ///
    /// # Errors
    /// When no replica can take the request, not even after it was woken; the error says why.
    pub fn claim_or_wake(
        &self,
        pool_id: &PoolId,
        model: Option<&str>,
        hint: Option<&ReplicaId>,
        excluded: &[ReplicaId],
    ) -> Result<Claim, ClaimError> {
        let mut core = self.shared.core.lock();
        let why_not = match core.claim(pool_id, model, hint, excluded) {
            Ok(claimed) => return Ok(Claim::Slot(self.lease(claimed))),
            Err(why_not) => why_not,
        };
        let promised = core
            .claim_asleep(pool_id, model, hint, excluded)
            .ok_or(why_not)?;
        drop(core);
        self.tell_sleepers();
        Ok(Claim::Promised(PromisedSlot::new(self.lease(promised))))
    }

    fn lease(&self, claimed: Claimed) -> SlotLease {
        SlotLease::new(self.clone(), claimed.handoff, claimed.generation)
    }

    /// Whether [`claim_or_wake`](Self::claim_or_wake) would succeed at this moment, for whoever has
    /// something to do before it.
    ///
    /// # Errors
    /// When it would not; the error says why.
    pub fn check_room(&self, pool_id: &PoolId, model: Option<&str>) -> Result<(), ClaimError> {
        let core = self.shared.core.lock();
        let Err(why_not) = core.candidate(pool_id, model, &[]) else {
            return Ok(());
        };
        let pool = core.pools.get(pool_id);
        let sleeper = pool.and_then(|pool| core.sleeper_for(pool, model, None, &[]));
        sleeper.map(|_| ()).ok_or(why_not)
    }

    pub(crate) fn release(&self, pool_id: &PoolId, replica_id: &ReplicaId, generation: u64) {
        let released = self
            .shared
            .core
            .lock()
            .release(pool_id, replica_id, generation);
        self.tell(released.news);
        if released.idle {
            self.shared.idle.notify_waiters();
        }
    }

    /// Every pool as the next heartbeat says it, in order of its id.
    #[must_use]
    pub fn statuses(&self) -> Vec<PoolStatus> {
        self.shared.core.lock().statuses()
    }

    /// The slots of a pool just now; `None` when it is not known.
    #[must_use]
    pub fn pool_slots(&self, pool_id: &PoolId) -> Option<Slots> {
        let core = self.shared.core.lock();
        core.pools
            .get(pool_id)
            .map(|pool| core.pool_slots(pool_id, pool))
    }

    pub(crate) fn replica_slots(
        &self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        generation: u64,
    ) -> Option<Slots> {
        let core = self.shared.core.lock();
        core.replica_slots(core.pools.get(pool_id)?, replica_id, generation)
    }

    pub(crate) fn claimed_slots(
        &self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        generation: u64,
    ) -> ClaimedSlots {
        let core = self.shared.core.lock();
        let Some(pool) = core.pools.get(pool_id) else {
            return ClaimedSlots::default();
        };
        ClaimedSlots {
            pool: core.pool_slots(pool_id, pool),
            replica: core.replica_slots(pool, replica_id, generation),
        }
    }

    /// A number that rises when something changed that a heartbeat must say at once: replicas,
    /// readiness, draining, slot totals, models, or the slots of abandoned requests. Other
    /// claims and releases do not move it.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// Every live replica, for whoever probes them.
    #[must_use]
    pub fn replicas(&self) -> Arc<[ReplicaTarget]> {
        let core = self.shared.core.lock();
        let replicas = core.pools.values().flat_map(|pool| pool.replicas.values());
        replicas
            .map(|replica| ReplicaTarget {
                pool_id: replica.handoff.pool_id.clone(),
                replica_id: replica.handoff.replica_id.clone(),
                generation: replica.generation,
                revision: replica.revision,
                url: replica.handoff.url.clone(),
                engine: replica.handoff.engine.clone(),
                declares_models: replica.declares_models(),
            })
            .collect()
    }

    /// How many leases are held, over all pools.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.core.lock().in_flight
    }

    /// How many leases of the engine at `url` are held, those of its earlier lives included.
    #[must_use]
    pub fn in_flight_at(&self, url: &HttpUrl) -> u64 {
        self.shared.core.lock().in_flight_at(url)
    }

    /// How many leases of a pool are held, those of engines whose handoff is gone included.
    #[must_use]
    pub fn in_flight_of(&self, pool_id: &PoolId) -> u64 {
        self.shared.core.lock().in_flight_of(pool_id)
    }

    /// How many leases of a replica are held, those of its earlier engines included.
    #[must_use]
    pub fn in_flight_of_replica(&self, pool_id: &PoolId, replica_id: &ReplicaId) -> u64 {
        self.shared
            .core
            .lock()
            .in_flight_of_replica(pool_id, replica_id)
    }

    /// How a pool is used, so that whoever asks twice knows whether it was in between.
    #[must_use]
    pub fn usage(&self, pool_id: &PoolId) -> Usage {
        let core = self.shared.core.lock();
        Usage {
            claims: core.pools.get(pool_id).map_or(0, |pool| pool.claims),
            running: core.in_flight_of(pool_id),
        }
    }

    /// Says why a replica has no handoff though it should have one, or that there is nothing to say
    /// any more.
    ///
    /// It is reported as a replica that is not ready, as long as no handoff announces it.
    pub fn set_absent(&self, pool_id: &PoolId, replica_id: &ReplicaId, reason: Option<String>) {
        let news = self
            .shared
            .core
            .lock()
            .set_absent(pool_id, replica_id, reason);
        self.tell(news);
    }

    /// Says why a file is not taken for a handoff, or that there is nothing to say any more. It is
    /// for people only.
    pub fn set_refused(&self, file: &str, reason: Option<&str>) {
        self.shared.core.lock().set_refused(file, reason);
    }

    /// The handoffs that were not taken in, in order of their files.
    #[must_use]
    pub fn refused(&self) -> Vec<RefusedHandoff> {
        self.shared.core.lock().refused()
    }

    /// Waits until no lease is held. New claims are not kept away: drain first.
    pub async fn idle(&self) {
        loop {
            let mut notified = std::pin::pin!(self.shared.idle.notified());
            // Listening before looking: a release in between is not missed.
            notified.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Rises with everything that concerns engines that sleep.
    pub(crate) fn sleepers(&self) -> watch::Receiver<u64> {
        self.shared.sleepers.subscribe()
    }

    pub(crate) fn with_core<T>(&self, look: impl FnOnce(&mut Core) -> T) -> T {
        look(&mut self.shared.core.lock())
    }

    pub(crate) fn tell_sleepers(&self) {
        self.shared.sleepers.send_modify(|version| *version += 1);
    }

    pub(crate) fn tell(&self, news: News) {
        if news == News::AtOnce {
            self.shared.version.send_modify(|version| *version += 1);
        }
    }
}
