//! A claim of a slot whose engine may have to be started first.

use std::sync::Arc;

use pool_registry_types::ReplicaId;

use crate::{claim::ClaimError, lease::SlotLease, scaled_to_zero::NOT_STARTED};

/// A slot of an engine that runs, or of one that is scaled to zero.
#[derive(Debug)]
#[must_use = "dropping the claim gives the slot back"]
pub enum Claim {
    /// The engine runs.
    Slot(SlotLease),
    /// The engine is scaled to zero; this claim starts it.
    Pending(PendingSlot),
}

impl Claim {
    /// Waits until the engine is ready, which may take as long as loading a model. Dropping the
    /// future gives the slot back; the engine may be started all the same.
    ///
    /// # Errors
    /// When the engine did not start, or takes no new requests any more.
    pub async fn ready(self) -> Result<SlotLease, ClaimError> {
        match self {
            Self::Slot(lease) => Ok(lease),
            Self::Pending(slot) => slot.ready().await,
        }
    }
}

/// A slot of an engine that is scaled to zero.
#[derive(Debug)]
pub struct PendingSlot {
    /// Holds the slot. Its handoff is the offer: the URL may change when the engine starts.
    lease: SlotLease,
}

impl PendingSlot {
    pub(crate) fn new(lease: SlotLease) -> Self {
        Self { lease }
    }

    /// Which of the pool's replicas it is.
    #[must_use]
    pub fn replica_id(&self) -> &ReplicaId {
        self.lease.replica_id()
    }

    /// See [`Claim::ready`].
    ///
    /// # Errors
    /// When the engine did not start, or takes no new requests any more.
    pub async fn ready(mut self) -> Result<SlotLease, ClaimError> {
        let shared = Arc::clone(self.lease.shared());
        let mut changes = shared.subscribe_scaled_to_zero();
        loop {
            // Mark as seen before reading, so that a change in between is not missed.
            changes.borrow_and_update();
            let lease = &self.lease;
            let (pool, replica, generation) =
                (lease.pool_id(), lease.replica_id(), lease.generation());
            let started = shared
                .core
                .lock()
                .started_handoff(pool, replica, generation);
            if let Some(engine) = started? {
                self.lease.set_handoff(engine.handoff, engine.key);
                return Ok(self.lease);
            }
            if changes.changed().await.is_err() {
                return Err(ClaimError::NotReady(NOT_STARTED.into()));
            }
        }
    }
}
