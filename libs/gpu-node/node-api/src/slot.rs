//! A claimed slot, and what becomes of it when its request is given up.

use std::sync::Arc;

use engine_probe::{Abandoned, Aftercare};
use pool_registry::{PoolRegistry, SlotLease};

/// A claimed slot. Dropped before its request is [done](Slot::done), it goes to the aftercare, because the engine
/// may go on with the request.
#[derive(Debug)]
pub(crate) struct Slot {
    lease: Arc<SlotLease>,
    registry: PoolRegistry,
    aftercare: Option<Aftercare>,
}

impl Slot {
    pub(crate) fn new(lease: SlotLease, registry: PoolRegistry, aftercare: Option<Aftercare>) -> Self {
        Self {
            lease: Arc::new(lease),
            registry,
            aftercare,
        }
    }

    pub(crate) fn lease(&self) -> &SlotLease {
        &self.lease
    }

    /// The engine has nothing to do with the request any more: it is answered, or never came there.
    pub(crate) fn done(mut self) {
        self.aftercare = None;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(aftercare) = self.aftercare.take() else {
            return;
        };
        let (registry, url) = (self.registry.clone(), self.lease.url().clone());
        aftercare.take(Abandoned {
            engine: self.lease.engine().clone(),
            url: url.clone(),
            held: Box::new(move || u32::try_from(registry.in_flight_at(&url)).unwrap_or(u32::MAX)),
            slot: Box::new(Arc::clone(&self.lease)),
        });
    }
}
