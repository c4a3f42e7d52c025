//! The state that a registry shares with its leases: the core behind a lock, and change signals.

use parking_lot::Mutex;
use pool_registry_types::{PoolId, ReplicaId};
use tokio::sync::{Notify, watch};

use crate::{
    core::{RegistryCore, ReportUrgency},
    probe::{ProbeOutcome, ReplicaChange},
    status::{ClaimedSlots, Slots},
};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) core: Mutex<RegistryCore>,
    /// Rises when a heartbeat must report at once.
    version: watch::Sender<u64>,
    /// Rises when a claim or a replica changed that concerns scale to zero.
    scaled_to_zero: watch::Sender<u64>,
    /// Notified when the last lease is dropped.
    pub(crate) idle: Notify,
}

impl Shared {
    pub(crate) fn new(core: RegistryCore) -> Self {
        Self {
            core: Mutex::new(core),
            version: watch::Sender::new(0),
            scaled_to_zero: watch::Sender::new(0),
            idle: Notify::new(),
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(crate) fn subscribe_scaled_to_zero(&self) -> watch::Receiver<u64> {
        self.scaled_to_zero.subscribe()
    }

    pub(crate) fn notify(&self, urgency: ReportUrgency) {
        if urgency == ReportUrgency::Immediate {
            self.version.send_modify(|version| *version += 1);
        }
    }

    pub(crate) fn notify_scaled_to_zero(&self) {
        self.scaled_to_zero.send_modify(|version| *version += 1);
    }

    pub(crate) fn probed(
        &self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        generation: u64,
        outcome: ProbeOutcome,
    ) -> Vec<ReplicaChange> {
        let (urgency, changes) = self
            .core
            .lock()
            .probed(pool_id, replica_id, generation, outcome);
        self.notify(urgency);
        changes
    }

    pub(crate) fn release(&self, pool_id: &PoolId, replica_id: &ReplicaId, generation: u64) {
        let released = self.core.lock().release(pool_id, replica_id, generation);
        self.notify(released.urgency);
        if released.idle {
            self.idle.notify_waiters();
        }
    }

    pub(crate) fn replica_slots(
        &self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        generation: u64,
    ) -> Option<Slots> {
        let core = self.core.lock();
        core.replica_slots(core.pools.get(pool_id)?, replica_id, generation)
    }

    pub(crate) fn claimed_slots(
        &self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        generation: u64,
    ) -> ClaimedSlots {
        let core = self.core.lock();
        let Some(pool) = core.pools.get(pool_id) else {
            return ClaimedSlots::default();
        };
        ClaimedSlots {
            pool: core.pool_slots(pool_id, pool),
            replica: core.replica_slots(pool, replica_id, generation),
        }
    }
}
