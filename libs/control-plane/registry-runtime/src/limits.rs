//! The limits of answers to probes, for documents.

use pool_registry_types::limits::Limit;

use crate::probe::MAX_BODY_BYTES;

/// All limits.
pub const LIMITS: &[Limit] = &[Limit::new("MAX_BODY_BYTES", MAX_BODY_BYTES as u64, "bytes")
    .because("A node's answer to a probe.")
    .enforced_by("registry-runtime")
    .beyond("the node counts as reachable, and the connection is closed")];
