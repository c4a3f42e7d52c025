//! The table of what bounds the answers of a control plane, for documents.

use pool_registry_types::limits::Limit;

use crate::{http::MAX_ANSWER_BYTES, machine::MAX_ASKED_PAUSE};

/// All of them.
pub const LIMITS: &[Limit] = &[
    Limit::new("MAX_ANSWER_BYTES", MAX_ANSWER_BYTES, "bytes")
        .because("The answer to a registration or heartbeat.")
        .enforced_by("node-registration")
        .beyond("the call has failed and is tried again"),
    Limit::time("MAX_ASKED_PAUSE", MAX_ASKED_PAUSE)
        .because("The pause that a control plane may ask for.")
        .enforced_by("node-registration")
        .beyond("the pause is cut"),
];
