//! The public handle of the registry: the core behind a lock, and waiting for changes.

use std::{sync::Arc, time::Duration};

use pool_registry_types::{Handoff, HttpUrl, PoolId, PoolStatus, RefusedHandoff, ReplicaId};
use tokio::sync::watch;

use crate::{
    claim::{ClaimError, ClaimedSlot},
    core::{RegistryCore, ReportUrgency, UpsertError},
    drain::{DrainTarget, UnknownTarget},
    engine_key::EngineKey,
    lease::SlotLease,
    pending::{Claim, PendingSlot},
    probe::{ProbeOutcome, ReplicaChange, ReplicaTarget},
    replica::Trust,
    shared::Shared,
    status::{PoolUsage, Slots},
};

/// The pools and replicas of one node. Clones share the same state.
#[derive(Debug, Clone)]
pub struct PoolRegistry {
    shared: Arc<Shared>,
}

impl PoolRegistry {
    /// A registry that reports `configured` pools from the start, as not ready until they have a
    /// replica.
    #[must_use]
    pub fn new(configured: Vec<PoolId>) -> Self {
        Self {
            shared: Arc::new(Shared::new(RegistryCore::new(configured))),
        }
    }

    /// The same with a pool that is reported only while the node has no other, so that an operator
    /// sees that handoffs are missing. It counts as configured in every other respect.
    #[must_use]
    pub fn with_placeholder(self, pool: Option<PoolId>) -> Self {
        if let Some(pool) = pool {
            self.shared.core.lock().add_placeholder(pool);
        }
        self
    }

    /// Applies a new or changed handoff. Its replica is ready at once.
    ///
    /// # Errors
    /// When the node has more pools, or the pool more replicas, than a heartbeat can carry.
    pub fn upsert(&self, handoff: Handoff) -> Result<(), UpsertError> {
        self.upsert_with_key(handoff, Ok(None))
    }

    /// As [`upsert`](Self::upsert), with the key of the handoff's `api_key_file`. An error, for
    /// people, makes the replica not ready.
    ///
    /// # Errors
    /// When the node has more pools, or the pool more replicas, than a heartbeat can carry.
    pub fn upsert_with_key(
        &self,
        handoff: Handoff,
        key: Result<Option<EngineKey>, String>,
    ) -> Result<(), UpsertError> {
        self.upsert_as(handoff, key, Trust::Fresh)
    }

    /// As [`upsert_with_key`](Self::upsert_with_key), for a handoff that is trusted as much as
    /// `trust` says.
    ///
    /// # Errors
    /// When the node has more pools, or the pool more replicas, than a heartbeat can carry.
    pub fn upsert_as(
        &self,
        handoff: Handoff,
        key: Result<Option<EngineKey>, String>,
        trust: Trust,
    ) -> Result<(), UpsertError> {
        let urgency = self.shared.core.lock().upsert(handoff, key, trust)?;
        self.shared.notify(urgency);
        self.shared.notify_scaled_to_zero();
        Ok(())
    }

    /// Retires a replica: it gets no new requests, and is forgotten when its last lease is dropped.
    pub fn remove(&self, pool_id: &PoolId, replica_id: &ReplicaId) {
        let urgency = self.shared.core.lock().remove(pool_id, replica_id);
        self.shared.notify(urgency);
    }

    /// Applies the outcome of a probe to one generation of a replica. Returns the changes that an
    /// operator should see, each once. An outcome for another generation is ignored.
    pub fn probed(
        &self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        generation: u64,
        outcome: ProbeOutcome,
    ) -> Vec<ReplicaChange> {
        self.shared.probed(pool_id, replica_id, generation, outcome)
    }

    /// Replaces the key of one generation of a replica, when its file has changed.
    pub fn set_key(
        &self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        generation: u64,
        key: EngineKey,
    ) {
        (self.shared.core.lock()).set_key(pool_id, replica_id, generation, key);
    }

    /// Stops new claims; running requests finish. Idempotent.
    ///
    /// # Errors
    /// When the pool or the replica is not known.
    pub fn drain(&self, target: &DrainTarget) -> Result<(), UnknownTarget> {
        self.set_draining(target, true)
    }

    /// Allows new claims again. A pool still drains while its node drains, and a replica while its
    /// pool drains. Idempotent.
    ///
    /// # Errors
    /// When the pool or the replica is not known.
    pub fn undrain(&self, target: &DrainTarget) -> Result<(), UnknownTarget> {
        self.set_draining(target, false)
    }

    /// Drains the node: all pools stop new claims, including pools that appear later.
    pub fn drain_all(&self) {
        // The node itself is always known.
        let _: Result<(), UnknownTarget> = self.drain(&DrainTarget::Node);
    }

    /// Drains a replica that need not exist yet.
    pub fn drain_in_advance(&self, pool_id: &PoolId, replica_id: ReplicaId) {
        (self.shared.core.lock()).drain_in_advance(pool_id, replica_id);
    }

    fn set_draining(&self, target: &DrainTarget, draining: bool) -> Result<(), UnknownTarget> {
        let urgency = self.shared.core.lock().set_draining(target, draining)?;
        self.shared.notify(urgency);
        self.shared.notify_scaled_to_zero();
        Ok(())
    }

    /// Sets how much memory of the pool's devices is free, in bytes. Ignored for an unknown pool.
    pub fn set_vram_free(&self, pool_id: &PoolId, bytes: u64) {
        if let Some(pool) = self.shared.core.lock().pools.get_mut(pool_id) {
            pool.vram_free_bytes = bytes;
        }
    }

    /// Sets how long a request for the models of a pool may wait. The pool need not exist yet.
    pub fn set_queue_timeout(&self, pool_id: &PoolId, timeout: Option<Duration>) {
        let mut core = self.shared.core.lock();
        let before = match timeout {
            Some(timeout) => core.queue_timeouts.insert(pool_id.clone(), timeout),
            None => core.queue_timeouts.remove(pool_id),
        };
        drop(core);
        self.shared.notify((before != timeout).into());
    }

    /// How long a request for the models of a pool may wait, if that was set.
    #[must_use]
    pub fn queue_timeout(&self, pool_id: &PoolId) -> Option<Duration> {
        self.shared.core.lock().queue_timeouts.get(pool_id).copied()
    }

    /// Claims a slot for a request to `model`, or to any model.
    ///
    /// Takes the ready replica with the most free slots; of equals, the first by id. A replica
    /// whose models are unknown is used only when no replica of the pool names the model.
    ///
    /// # Errors
    /// When no replica can take the request now; the error gives the reason.
    pub fn claim(&self, pool_id: &PoolId, model: Option<&str>) -> Result<SlotLease, ClaimError> {
        self.claim_excluding(pool_id, model, &[])
    }

    /// As [`claim`](Self::claim), but of a replica that is not in `excluded`: for a retry.
    ///
    /// # Errors
    /// When no other replica can take the request now; the error gives the reason.
    pub fn claim_excluding(
        &self,
        pool_id: &PoolId,
        model: Option<&str>,
        excluded: &[ReplicaId],
    ) -> Result<SlotLease, ClaimError> {
        let mut core = self.shared.core.lock();
        let claimed = core.claim(pool_id, model, None, excluded)?;
        drop(core);
        Ok(self.lease(claimed))
    }

    /// As [`claim_excluding`](Self::claim_excluding). When no running engine can take the request,
    /// claims a slot of one that is scaled to zero, which starts it.
    ///
    /// The replica `hint` is used when it can take the request at once, and preferred among
    /// replicas that are scaled to zero. Otherwise the hint is ignored: the sender may have seen
    /// an older state of the pool.
    ///
    /// # Errors
    /// When no replica can take the request, started or not; the error gives the reason.
    pub fn claim_or_start(
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
        let pending = core
            .claim_scaled_to_zero(pool_id, model, hint, excluded)
            .ok_or(why_not)?;
        drop(core);
        self.shared.notify_scaled_to_zero();
        Ok(Claim::Pending(PendingSlot::new(self.lease(pending))))
    }

    /// Claims a slot of one replica, for a request that no other one can serve.
    ///
    /// # Errors
    /// When it is excluded or cannot take the request now; the error gives the reason.
    pub fn claim_of(
        &self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        model: Option<&str>,
        excluded: &[ReplicaId],
    ) -> Result<SlotLease, ClaimError> {
        let mut core = self.shared.core.lock();
        let claimed = core.claim_of(pool_id, replica_id, model, excluded)?;
        drop(core);
        Ok(self.lease(claimed))
    }

    fn lease(&self, claimed: ClaimedSlot) -> SlotLease {
        SlotLease::new(Arc::clone(&self.shared), claimed)
    }

    /// Whether [`claim_or_start`](Self::claim_or_start) would succeed now. Use it to reject a
    /// request before reading its body.
    ///
    /// # Errors
    /// When it would not; the error gives the reason.
    pub fn check_capacity(&self, pool_id: &PoolId, model: Option<&str>) -> Result<(), ClaimError> {
        let core = self.shared.core.lock();
        let Err(why_not) = core.candidate(pool_id, model, &[]) else {
            return Ok(());
        };
        let pool = core.pools.get(pool_id);
        let offered = pool.and_then(|pool| core.scaled_to_zero_candidate(pool, model, None, &[]));
        offered.map(|_| ()).ok_or(why_not)
    }

    /// Every pool as the next heartbeat reports it, in order of its id.
    #[must_use]
    pub fn statuses(&self) -> Vec<PoolStatus> {
        self.shared.core.lock().statuses()
    }

    /// The slots of a pool now; `None` when it is not known.
    #[must_use]
    pub fn pool_slots(&self, pool_id: &PoolId) -> Option<Slots> {
        let core = self.shared.core.lock();
        core.pools
            .get(pool_id)
            .map(|pool| core.pool_slots(pool_id, pool))
    }

    /// A number that rises when something changed that a heartbeat must report at once: replicas,
    /// readiness, draining, slot totals, models, or slots of abandoned requests. Other claims and
    /// releases do not change it.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.subscribe()
    }

    /// Every live replica, for a prober.
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
                api_key_file: replica.handoff.api_key_file.clone(),
                verifies_kind: replica.verifies_kind(),
            })
            .collect()
    }

    /// The number of leases, over all pools.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.core.lock().in_flight
    }

    /// The number of leases of the engine at `url`, its earlier generations included.
    #[must_use]
    pub fn in_flight_at(&self, url: &HttpUrl) -> u64 {
        self.shared.core.lock().in_flight_at(url)
    }

    /// The number of leases of a pool, including engines whose handoff is gone.
    #[must_use]
    pub fn in_flight_of(&self, pool_id: &PoolId) -> u64 {
        self.shared.core.lock().in_flight_of(pool_id)
    }

    /// The number of leases of a replica, its earlier engines included.
    #[must_use]
    pub fn in_flight_of_replica(&self, pool_id: &PoolId, replica_id: &ReplicaId) -> u64 {
        let core = self.shared.core.lock();
        core.in_flight_of_replica(pool_id, replica_id)
    }

    /// How much a pool is used. Two readings tell whether it was used in between.
    #[must_use]
    pub fn usage(&self, pool_id: &PoolId) -> PoolUsage {
        let core = self.shared.core.lock();
        PoolUsage {
            claims: core.pools.get(pool_id).map_or(0, |pool| pool.claims),
            running: core.in_flight_of(pool_id),
        }
    }

    /// Sets why a replica that should have a handoff has none; `None` clears the reason.
    ///
    /// The replica is reported as not ready while no handoff announces it.
    pub fn set_absent(&self, pool_id: &PoolId, replica_id: &ReplicaId, reason: Option<String>) {
        let mut core = self.shared.core.lock();
        let urgency = core.set_absent(pool_id, replica_id, reason);
        drop(core);
        self.shared.notify(urgency);
    }

    /// Sets why a handoff file is refused; `None` clears the reason. For people only.
    pub fn set_refused(&self, file: &str, reason: Option<&str>) {
        let has_changed = self.shared.core.lock().set_refused(file, reason);
        if has_changed {
            self.shared.notify(ReportUrgency::Immediate);
        }
    }

    /// The refused handoffs, in order of their files.
    #[must_use]
    pub fn refused(&self) -> Vec<RefusedHandoff> {
        self.shared.core.lock().refused()
    }

    /// Waits until no lease is held. New claims are still possible: drain first.
    pub async fn idle(&self) {
        loop {
            let mut notified = std::pin::pin!(self.shared.idle.notified());
            // Register before reading, so that a release in between is not missed.
            notified.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Offers an engine that is scaled to zero as `handoff` describes it. The first claim starts
    /// it, see [`wait_for_demand`](Self::wait_for_demand). While a handoff of that name exists, the
    /// handoff takes precedence.
    ///
    /// Returns the handoff with the models that the engine named, when `handoff` names none.
    pub fn set_scaled_to_zero(&self, handoff: Handoff) -> Handoff {
        let (handoff, urgency) = self.shared.core.lock().set_scaled_to_zero(handoff);
        self.shared.notify(urgency);
        self.shared.notify_scaled_to_zero();
        handoff
    }

    /// Withdraws the offer of [`set_scaled_to_zero`](Self::set_scaled_to_zero), for `reason`. Not
    /// needed for an engine that is announced: its handoff fulfils the offer.
    ///
    /// Returns false when there is nothing to withdraw: the offer was fulfilled, or another engine
    /// has made an offer of its own.
    pub fn withdraw_offer(&self, offer: &Handoff, reason: Option<&str>) -> bool {
        let stood = self.shared.core.lock().withdraw_offer(offer, reason);
        if stood {
            self.shared.notify(ReportUrgency::Immediate);
            self.shared.notify_scaled_to_zero();
        }
        stood
    }

    /// Returns when a request waits for this engine, which is scaled to zero.
    pub async fn wait_for_demand(&self, pool_id: &PoolId, replica_id: &ReplicaId) {
        let mut changes = self.shared.subscribe_scaled_to_zero();
        loop {
            changes.borrow_and_update();
            if self.shared.core.lock().has_demand(pool_id, replica_id) {
                return;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}
