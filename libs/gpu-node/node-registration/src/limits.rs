//! The table of limits for documents.

use pool_registry_types::limits::Limit;

use crate::{
    http::MAX_ANSWER_BYTES,
    machine::{MAX_ASKED_PAUSE, MAX_SET_INTERVAL},
};

/// All limits of this crate.
pub const LIMITS: &[Limit] = &[
    Limit::new("MAX_ANSWER_BYTES", MAX_ANSWER_BYTES, "bytes")
        .because("The answer to a registration or heartbeat.")
        .enforced_by("node-registration")
        .beyond("the call has failed and is tried again"),
    Limit::time("MAX_ASKED_PAUSE", MAX_ASKED_PAUSE)
        .because(
            "The pause that a control plane may ask for, unless its timeout for nodes is longer \
             than 30 s: then a third of that.",
        )
        .enforced_by("node-registration")
        .beyond("the pause is cut"),
    Limit::time("MAX_SET_INTERVAL", MAX_SET_INTERVAL)
        .because("The interval between heartbeats that a control plane may set.")
        .enforced_by("node-registration")
        .beyond("the node reports at this interval"),
];
