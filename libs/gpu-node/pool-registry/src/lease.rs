//! A claimed slot.

use std::sync::Arc;

use pool_registry_types::{EngineKind, Handoff, HttpUrl, PoolId, ReplicaId};

use crate::{Change, PoolRegistry, PoolSlots, ProbeOutcome};

/// A claimed slot of one engine; dropping it gives the slot back.
#[derive(Debug)]
#[must_use = "dropping the lease gives the slot back"]
pub struct SlotLease {
    registry: PoolRegistry,
    handoff: Arc<Handoff>,
    generation: u64,
}

impl SlotLease {
    pub(crate) fn new(registry: PoolRegistry, handoff: Arc<Handoff>, generation: u64) -> Self {
        Self {
            registry,
            handoff,
            generation,
        }
    }

    pub(crate) fn registry(&self) -> &PoolRegistry {
        &self.registry
    }

    pub(crate) fn generation(&self) -> u64 {
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

    /// Nobody listens where the engine should: counts like a failed probe, so that a dead engine is out of the
    /// way before the prober comes round. Says what that changed.
    pub fn unreachable(&self) -> Vec<Change> {
        let outcome = ProbeOutcome::failed("the engine refuses connections");
        self.registry.probed(
            &self.handoff.pool_id,
            &self.handoff.replica_id,
            self.generation,
            outcome,
        )
    }

    /// The slots of its pool just now, this one counted as taken; none when the pool is gone.
    #[must_use]
    pub fn pool_slots(&self) -> PoolSlots {
        self.registry.pool_slots(self.pool_id()).unwrap_or_default()
    }
}

impl Drop for SlotLease {
    fn drop(&mut self) {
        self.registry
            .release(&self.handoff.pool_id, &self.handoff.replica_id, self.generation);
    }
}
