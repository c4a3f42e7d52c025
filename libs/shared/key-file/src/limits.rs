//! The bounds of a file of keys, for documents.

use bearer_auth::MAX_KEY_NAME_CHARS;
use pool_registry_types::limits::Limit;

/// The largest file of keys: some thousand keys.
pub const MAX_KEYS_FILE_BYTES: u64 = 1024 * 1024;

/// All limits.
pub const LIMITS: &[Limit] = &[
    Limit::new("MAX_KEYS_FILE_BYTES", MAX_KEYS_FILE_BYTES, "bytes")
        .because("The file is read twice a second; some thousand keys fit.")
        .enforced_by("`ORCHESTRATORD_KEYS_FILE`, `POOL_MANAGERD_KEYS_FILE`")
        .beyond("an error at the start; later the last good keys stay valid, with a warning"),
    Limit::new(
        "bearer_auth::MAX_KEY_NAME_CHARS",
        MAX_KEY_NAME_CHARS as u64,
        "characters",
    )
    .because("A name is for people, in tables and logs.")
    .enforced_by("`ORCHESTRATORD_KEYS_FILE`, `POOL_MANAGERD_KEYS_FILE`")
    .beyond("an error at the start; later the last good keys stay valid, with a warning"),
];
