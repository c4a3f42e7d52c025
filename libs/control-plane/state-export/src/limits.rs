//! The bounds of an export, for documents.

use pool_registry_types::limits::Limit;

/// The largest export in bytes. A thousand nodes have about two megabytes.
pub const MAX_EXPORT_BYTES: u64 = 1024 * 1024 * 1024;

/// The version of the format. It rises with a change that older versions must not ignore, such as
/// another kind of record; an optional field is no such change.
pub const VERSION: u64 = 1;

/// All limits.
pub const LIMITS: &[Limit] = &[Limit::new("MAX_EXPORT_BYTES", MAX_EXPORT_BYTES, "bytes")
    .because("An export is in memory while it is made, verified and imported.")
    .enforced_by("POST /v2/store/export, `llorch store export`, `llorch store import`")
    .beyond("an error that says so")];
