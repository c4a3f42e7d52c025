//! Why a change of keys is refused.

use std::sync::Arc;

use bearer_auth::{KeyLimitError, MAX_KEY_NAME_CHARS};

use crate::limits::{MAX_KEY_LIFETIME, MAX_KEYS, MAX_OVERLAP};

const SECS_PER_DAY: u64 = 24 * 60 * 60;

/// A change that is refused. Each message names the field and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The name is empty, too long, or holds control or invisible characters.
    #[error(
        "name: must have 1 to {MAX_KEY_NAME_CHARS} characters, without control and invisible \
         characters and without blanks at its ends"
    )]
    BadName,
    /// A living key has the name.
    #[error("name: there is a key {0:?} already; revoke it first, or choose another name")]
    NameTaken(Arc<str>),
    /// The key could be used for nothing.
    #[error("scopes: must hold client, node, observer or operator")]
    NoScope,
    /// `node` without a node.
    #[error("node: a key with the scope node needs the id of its node")]
    NodeMissing,
    /// A node without `node`.
    #[error("node: only a key with the scope node belongs to a node")]
    NodeWithoutScope,
    /// Limits without a scope that uses models.
    #[error("limits: only a key with the scope client or operator uses models")]
    LimitsWithoutScope,
    /// Limits for a key that uses no models.
    #[error("limits: the key {0:?} has neither the scope client nor operator, and uses no models")]
    UsesNoModels(Arc<str>),
    /// A new limit is out of its bounds.
    #[error("limits.{0}")]
    Limits(KeyLimitError),
    /// The end is now, or too far away.
    #[error(
        "expires_in_ms: must be from 1 to {} ({} days); a key without it has no end",
        MAX_KEY_LIFETIME.as_millis(),
        MAX_KEY_LIFETIME.as_secs() / SECS_PER_DAY
    )]
    BadLifetime,
    /// The overlap is too long.
    #[error(
        "overlap_ms: must be at most {} ({} days)",
        MAX_OVERLAP.as_millis(),
        MAX_OVERLAP.as_secs() / SECS_PER_DAY
    )]
    BadOverlap,
    /// There is no such key.
    #[error("there is no key {0:?}")]
    Unknown(String),
    /// The key was revoked.
    #[error("the key {0:?} was revoked; create another one")]
    Revoked(Arc<str>),
    /// The key has expired.
    #[error("the key {0:?} has expired; name a new end with expires_in_ms")]
    Expired(Arc<str>),
    /// Another key has the id of this token.
    #[error("the new key would have the id of another one; try again")]
    IdTaken,
    /// There are too many keys.
    #[error("there are {MAX_KEYS} keys, which is the most; revoked ones count for 30 days")]
    TooMany,
    /// No operator could manage keys any more.
    #[error(
        "no API token is set, so one key with the scope operator and without an end must be \
         there: from the first key on every peer presents a credential. Create such a key first, \
         or set LLORCH_API_TOKEN"
    )]
    LocksOut,
}
