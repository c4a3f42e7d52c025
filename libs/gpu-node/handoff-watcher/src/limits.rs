//! The size limit of a handoff file, and the table of limits for documents.

use pool_registry_types::{MAX_HANDOFF_BYTES, limits::Limit};

/// The largest handoff file in bytes. A thousand model names of the maximum length would need more.
pub const MAX_FILE_BYTES: u64 = MAX_HANDOFF_BYTES as u64;

/// All limits of this crate.
pub const LIMITS: &[Limit] = &[Limit::new("MAX_FILE_BYTES", MAX_FILE_BYTES, "bytes")
    .because("A handoff file.")
    .enforced_by("handoff-watcher")
    .beyond("the file is refused")];
