//! The table of what bounds a handoff file, for documents.

use pool_registry_types::limits::Limit;

use crate::MAX_FILE_BYTES;

/// All of them.
pub const LIMITS: &[Limit] = &[Limit::new("MAX_FILE_BYTES", MAX_FILE_BYTES, "bytes")
    .because("A handoff file.")
    .enforced_by("handoff-watcher")
    .beyond("the file is refused")];
