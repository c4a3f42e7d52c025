//! The bounds of keys, for documents.

use std::time::Duration;

use bearer_auth::MAX_KEY_NAME_CHARS;
use pool_registry_types::limits::Limit;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The most keys, those included that are remembered although they have ended.
pub const MAX_KEYS: usize = 10_000;

/// The longest time for which a replaced token stays valid.
pub const MAX_OVERLAP: Duration = Duration::from_secs(30 * DAY.as_secs());

/// How long a replaced token stays valid when the request does not say: enough to roll the new one
/// out by hand.
pub const DEFAULT_OVERLAP: Duration = Duration::from_secs(60 * 60);

/// The longest life of a key that has an end.
pub const MAX_KEY_LIFETIME: Duration = Duration::from_secs(10 * 365 * DAY.as_secs());

/// How long a key is remembered after its end, so that its holder is told why it is refused.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(30 * DAY.as_secs());

/// All limits.
pub const LIMITS: &[Limit] = &[
    Limit::new("MAX_KEYS", MAX_KEYS as u64, "keys")
        .because("Each key is in memory and is listed. Keys that have ended count for 30 days.")
        .enforced_by("POST /v2/keys")
        .beyond("409 KEY_CONFLICT"),
    Limit::new(
        "bearer_auth::MAX_KEY_NAME_CHARS",
        MAX_KEY_NAME_CHARS as u64,
        "characters",
    )
    .because("A name is for people, in tables and logs.")
    .enforced_by("POST /v2/keys, files of keys")
    .beyond("400 INVALID_REQUEST"),
    Limit::time("MAX_OVERLAP", MAX_OVERLAP)
        .because("A replaced token that stays valid for longer is forgotten by its owner.")
        .enforced_by("POST /v2/keys/{key_id}/rotate")
        .beyond("400 INVALID_REQUEST"),
    Limit::time("MAX_KEY_LIFETIME", MAX_KEY_LIFETIME)
        .because("A key that is meant to last for ever has no end instead.")
        .enforced_by("POST /v2/keys, POST /v2/keys/{key_id}/rotate")
        .beyond("400 INVALID_REQUEST"),
];
