//! A claimed slot.

use std::sync::Arc;

use pool_registry_types::{EngineKind, Handoff, HttpUrl, PoolId, ReplicaId};

use crate::{Change, ClaimedSlots, PoolRegistry, ProbeOutcome, Slots, core::News};

/// For whom a slot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// For a request whose client still waits.
    ByRequest,
    /// For an engine that may still work on an abandoned request.
    ByEngine,
    /// Another lease has it.
    No,
}

/// A claimed slot of one engine; dropping it gives the slot back.
#[derive(Debug)]
#[must_use = "dropping the lease gives the slot back"]
pub struct SlotLease {
    registry: PoolRegistry,
    handoff: Arc<Handoff>,
    generation: u64,
    held: Held,
}

impl SlotLease {
    pub(crate) fn new(registry: PoolRegistry, handoff: Arc<Handoff>, generation: u64) -> Self {
        Self {
            registry,
            handoff,
            generation,
            held: Held::ByRequest,
        }
    }

    pub(crate) fn registry(&self) -> &PoolRegistry {
        &self.registry
    }

    /// Which start of the replica's engine this is.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The engine is there, announced as `handoff`.
    pub(crate) fn listens_as(&mut self, handoff: Arc<Handoff>) {
        self.handoff = handoff;
    }

    /// Where the engine listens.
    #[must_use]
    pub fn url(&self) -> &HttpUrl {
        &self.handoff.url
    }

    /// The pool the engine belongs to.
    #[must_use]
    pub fn pool_id(&self) -> &PoolId {
        &self.handoff.pool_id
    }

    /// Which of the pool's engines it is.
    #[must_use]
    pub fn replica_id(&self) -> &ReplicaId {
        &self.handoff.replica_id
    }

    /// What kind of engine it is.
    #[must_use]
    pub fn engine(&self) -> &EngineKind {
        &self.handoff.engine
    }

    /// Nobody listens where the engine should: counts like a failed probe, so that a dead engine is
    /// out of the way before the prober comes round. Says what that changed.
    pub fn unreachable(&self) -> Vec<Change> {
        let outcome = ProbeOutcome::failed("the engine refuses connections");
        self.registry.probed(
            &self.handoff.pool_id,
            &self.handoff.replica_id,
            self.generation,
            outcome,
        )
    }

    /// The slots of its replica just now, this one counted as taken; `None` when the replica has
    /// been replaced or removed since.
    #[must_use]
    pub fn replica_slots(&self) -> Option<Slots> {
        self.registry
            .replica_slots(self.pool_id(), self.replica_id(), self.generation)
    }

    /// The same, and the slots of its pool; none of these when the pool is gone.
    #[must_use]
    pub fn slots(&self) -> ClaimedSlots {
        self.registry
            .claimed_slots(self.pool_id(), self.replica_id(), self.generation)
    }

    /// Moves the slot to a lease that outlives its request, because the engine may still work on
    /// that. A heartbeat says so at once, and again when the slot comes back: whoever sent the
    /// request does not count it any more.
    pub fn abandon(&mut self) -> Self {
        self.held = Held::No;
        let lease = Self {
            registry: self.registry.clone(),
            handoff: Arc::clone(&self.handoff),
            generation: self.generation,
            held: Held::ByEngine,
        };
        self.registry.tell(News::AtOnce);
        lease
    }
}

impl Drop for SlotLease {
    fn drop(&mut self) {
        if self.held == Held::No {
            return;
        }
        self.registry.release(
            &self.handoff.pool_id,
            &self.handoff.replica_id,
            self.generation,
        );
        if self.held == Held::ByEngine {
            self.registry.tell(News::AtOnce);
        }
    }
}
