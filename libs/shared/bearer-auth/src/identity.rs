//! The identity behind a credential.

use std::{sync::Arc, time::SystemTime};

use pool_registry_types::NodeId;

use crate::{key_limits::KeyLimits, scope::Scopes};

/// The longest name of a key, in characters.
pub const MAX_KEY_NAME_CHARS: usize = 64;

/// Whether a text may be the name of a key.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    (1..=MAX_KEY_NAME_CHARS).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(char::is_control)
}

/// A key, as the rest of the program knows its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The id of the key. It stays the same when its token is replaced.
    pub id: Arc<str>,
    /// The name that a person has given it.
    pub name: Arc<str>,
    /// What it may be used for.
    pub scopes: Scopes,
    /// The only node that it may act for, with the scope `node`.
    pub node: Option<NodeId>,
    /// When it ends.
    pub expires_at: Option<SystemTime>,
    /// How much of the service it may use.
    pub limits: KeyLimits,
}
