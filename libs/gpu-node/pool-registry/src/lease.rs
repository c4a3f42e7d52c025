//! A claimed slot.

use std::sync::Arc;

use pool_registry_types::{EngineKind, Handoff, HttpUrl, PoolId, ReplicaId};

use crate::{
    claim::ClaimedSlot,
    core::ReportUrgency,
    engine_key::EngineKey,
    probe::{ProbeOutcome, ReplicaChange},
    shared::Shared,
    status::{ClaimedSlots, Slots},
};

/// Why a lease holds its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// For a request whose client still waits.
    Request,
    /// For an engine that may still work on an abandoned request.
    AbandonedRequest,
    /// It does not: another lease has taken the slot over.
    Moved,
}

/// A claimed slot of one engine; dropping it gives the slot back.
#[derive(Debug)]
#[must_use = "dropping the lease gives the slot back"]
pub struct SlotLease {
    shared: Arc<Shared>,
    handoff: Arc<Handoff>,
    generation: u64,
    key: Option<EngineKey>,
    holder: Holder,
}

impl SlotLease {
    pub(crate) fn new(shared: Arc<Shared>, claimed: ClaimedSlot) -> Self {
        let ClaimedSlot {
            handoff,
            generation,
            key,
        } = claimed;
        Self {
            shared,
            handoff,
            generation,
            key,
            holder: Holder::Request,
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The generation of the replica: it rises with each start of its engine.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Replaces the handoff and the key when the engine has started.
    pub(crate) fn set_handoff(&mut self, handoff: Arc<Handoff>, key: Option<EngineKey>) {
        self.handoff = handoff;
        self.key = key;
    }

    /// The key that the engine demands.
    #[must_use]
    pub fn key(&self) -> Option<&EngineKey> {
        self.key.as_ref()
    }

    /// Where the engine listens.
    #[must_use]
    pub fn url(&self) -> &HttpUrl {
        &self.handoff.url
    }

    /// The pool of the engine.
    #[must_use]
    pub fn pool_id(&self) -> &PoolId {
        &self.handoff.pool_id
    }

    /// Which of the pool's replicas it is.
    #[must_use]
    pub fn replica_id(&self) -> &ReplicaId {
        &self.handoff.replica_id
    }

    /// What kind of engine it is.
    #[must_use]
    pub fn engine(&self) -> &EngineKind {
        &self.handoff.engine
    }

    /// Reports that the engine refuses connections. This counts like a failed probe, so that a dead
    /// engine gets no requests before the next probe. Returns what changed.
    pub fn unreachable(&self) -> Vec<ReplicaChange> {
        let outcome = ProbeOutcome::failed("the engine refuses connections");
        (self.shared).probed(self.pool_id(), self.replica_id(), self.generation, outcome)
    }

    /// The slots of its replica now, with this one counted as taken; `None` when the replica has
    /// been replaced or removed since.
    #[must_use]
    pub fn replica_slots(&self) -> Option<Slots> {
        (self.shared).replica_slots(self.pool_id(), self.replica_id(), self.generation)
    }

    /// The slots of its replica and of its pool now; zero when the pool is gone.
    #[must_use]
    pub fn slots(&self) -> ClaimedSlots {
        (self.shared).claimed_slots(self.pool_id(), self.replica_id(), self.generation)
    }

    /// Moves the slot to a lease that outlives its request, because the engine may still work on
    /// it. A heartbeat reports this at once, and again when the slot is released: the control
    /// plane no longer counts the request.
    pub fn abandon(&mut self) -> Self {
        self.holder = Holder::Moved;
        let lease = Self {
            shared: Arc::clone(&self.shared),
            handoff: Arc::clone(&self.handoff),
            generation: self.generation,
            key: None,
            holder: Holder::AbandonedRequest,
        };
        self.shared.notify(ReportUrgency::Immediate);
        lease
    }
}

impl Drop for SlotLease {
    fn drop(&mut self) {
        if self.holder == Holder::Moved {
            return;
        }
        (self.shared).release(self.pool_id(), self.replica_id(), self.generation);
        if self.holder == Holder::AbandonedRequest {
            self.shared.notify(ReportUrgency::Immediate);
        }
    }
}
