//! The table of what bounds messages of nodes, and answers to probes, for documents.

use pool_registry_types::limits::Limit;

use crate::{
    probe::MAX_BODY_BYTES,
    task::{MAX_BATCH, MAX_WAITING},
};

/// All of them.
pub const LIMITS: &[Limit] = &[
    Limit::new("MAX_WAITING", MAX_WAITING as u64, "messages")
        .because("Registrations and heartbeats that wait for the registry.")
        .enforced_by("registry-runtime")
        .beyond("the answer waits"),
    Limit::new("MAX_BATCH", MAX_BATCH as u64, "messages")
        .because("Messages that are published together.")
        .enforced_by("registry-runtime")
        .beyond("the rest is published next"),
    Limit::new("MAX_BODY_BYTES", MAX_BODY_BYTES as u64, "bytes")
        .because("What is read of a node's answer to a probe.")
        .enforced_by("registry-runtime")
        .beyond("the node counts as reachable, and the connection is closed"),
];
