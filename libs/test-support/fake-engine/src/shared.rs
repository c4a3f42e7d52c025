//! The state that the handle of an engine and its connections share.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::{answer::Prepared, responses::Responses, script::Script, stats::Counters};

/// The script and the counters.
#[derive(Debug)]
pub(crate) struct Shared {
    prepared: Mutex<Arc<Prepared>>,
    pub(crate) counters: Counters,
    pub(crate) responses: Responses,
}

impl Shared {
    pub(crate) fn new(script: Script, record: bool) -> Self {
        Self {
            prepared: Mutex::new(Arc::new(Prepared::new(script))),
            counters: Counters::new(record),
            responses: Responses::default(),
        }
    }

    pub(crate) fn prepared(&self) -> Arc<Prepared> {
        Arc::clone(&self.prepared.lock())
    }

    /// Replaces the script for the next requests.
    pub(crate) fn set(&self, script: Script) {
        *self.prepared.lock() = Arc::new(Prepared::new(script));
    }
}
