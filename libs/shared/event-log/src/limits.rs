//! The table of what is kept of events, for documents.

use pool_registry_types::limits::Limit;

use crate::{CAPACITY, event::MAX_MESSAGE_CHARS};

/// All of them.
pub const LIMITS: &[Limit] = &[
    Limit::new("CAPACITY", CAPACITY as u64, "events")
        .because("Events that `GET /v2/events` can return.")
        .enforced_by("event-log")
        .beyond("the oldest is forgotten"),
    Limit::new("MAX_MESSAGE_CHARS", MAX_MESSAGE_CHARS as u64, "characters")
        .because("The message of an event.")
        .enforced_by("event-log")
        .beyond("the message is cut"),
];
