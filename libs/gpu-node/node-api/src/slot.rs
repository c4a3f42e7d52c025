//! A claimed slot, and what becomes of it when its request is given up.

use std::sync::Arc;

use engine_probe::{Aftercare, Visit};
use pool_registry::SlotLease;

/// A claimed slot. Dropped before its request is [done](Slot::done), it goes to the aftercare, because the engine
/// may go on with the request.
#[derive(Debug)]
pub(crate) struct Slot {
    lease: Arc<SlotLease>,
    /// `None` when nobody looks after it.
    visit: Option<Visit>,
}

impl Slot {
    pub(crate) fn new(lease: SlotLease, aftercare: Option<&Aftercare>) -> Self {
        Self {
            visit: aftercare.map(|aftercare| aftercare.visit(lease.engine(), lease.url())),
            lease: Arc::new(lease),
        }
    }

    pub(crate) fn lease(&self) -> &SlotLease {
        &self.lease
    }

    /// The engine's answer has begun.
    pub(crate) fn answered(&self) {
        if let Some(visit) = &self.visit {
            visit.answered();
        }
    }

    /// The engine has nothing to do with the request any more: it is answered, or never came there.
    pub(crate) fn done(mut self) {
        self.visit = None;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(visit) = self.visit.take() {
            visit.give_up(Box::new(Arc::clone(&self.lease)));
        }
    }
}
