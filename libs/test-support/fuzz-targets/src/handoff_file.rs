//! A handoff file.
//!
//! Input: the file.
//!
//! * What is accepted obeys every bound of the wire contract, and is the same after it has been
//!   written and read.
//! * A refusal is short, on one line.

use handoff_watcher::fuzzing::parse;
use pool_registry_types::MAX_SLOTS;

use crate::bounds;

/// See the top of this file.
pub fn handoff_file(input: &[u8]) {
    match parse(input) {
        Ok(handoff) => {
            bounds::id(handoff.pool_id.as_str());
            bounds::id(handoff.replica_id.as_str());
            bounds::id(handoff.engine.as_str());
            bounds::url(&handoff.url);
            assert!((1..=MAX_SLOTS).contains(&handoff.slots()));
            bounds::text(handoff.engine_version.as_deref());
            bounds::text(handoff.device_mask.as_deref());
            bounds::models(handoff.models.as_ref());
            bounds::survives_writing(&handoff);
        }
        Err(refusal) => bounds::refusal(&refusal.to_string()),
    }
}
