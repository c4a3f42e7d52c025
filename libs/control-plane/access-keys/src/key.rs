//! A key, in memory and as a store keeps it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bearer_auth::{Credential, Identity, KeyLimits, Scope, Scopes, TokenDigest};
use pool_registry_types::{NodeId, millis};
use serde::{Deserialize, Serialize};

use crate::limits::REMEMBERED;

/// A key. Times are milliseconds since 1970.
///
/// Unknown fields are ignored, so that an earlier version can run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// Identifies it for ever.
    pub key_id: Arc<str>,
    /// The name that a person has given it.
    pub name: Arc<str>,
    /// What it may be used for.
    pub scopes: Scopes,
    /// Its node, with the scope `node`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// How much of the service it may use.
    #[serde(default, skip_serializing_if = "KeyLimits::is_default")]
    pub limits: KeyLimits,
    /// When it was created.
    pub created_at_ms: u64,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at_ms: Option<u64>,
    /// The SHA-256 of its token.
    pub token_sha256: TokenDigest,
    /// When it got this token, if not at its creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at_ms: Option<u64>,
    /// The token before, which is valid for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousToken>,
}

/// A token that was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousToken {
    /// The SHA-256 of the token.
    pub token_sha256: TokenDigest,
    /// When it ends.
    pub valid_until_ms: u64,
}

impl AccessKey {
    /// Whether it is neither revoked nor expired.
    #[must_use]
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.ended_at_ms().is_none_or(|end| unix_ms(now) < end)
    }

    /// Whether it can manage keys for ever.
    pub(crate) fn is_lasting_operator(&self) -> bool {
        self.scopes.contains(Scope::Operator) && self.ended_at_ms().is_none()
    }

    /// When it has ended or ends.
    fn ended_at_ms(&self) -> Option<u64> {
        self.revoked_at_ms.or(self.expires_at_ms)
    }

    /// Whether it has ended so long ago that no operator asks for it any more.
    pub(crate) fn is_forgotten(&self, now: SystemTime) -> bool {
        let remembered = millis(REMEMBERED);
        self.ended_at_ms()
            .is_some_and(|end| end.saturating_add(remembered) <= unix_ms(now))
    }

    /// Its tokens, for the check of requests.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = Credential> + use<> {
        let identity = Arc::new(Identity {
            id: Arc::clone(&self.key_id),
            name: Arc::clone(&self.name),
            scopes: self.scopes,
            node: self.node.clone(),
            expires_at: self.expires_at_ms.map(time),
            limits: self.limits.clone(),
        });
        let is_revoked = self.revoked_at_ms.is_some();
        let previous = self.previous.map(|previous| Credential {
            digest: previous.token_sha256,
            identity: Arc::clone(&identity),
            valid_until: Some(time(previous.valid_until_ms)),
            is_revoked,
        });
        let current = Credential {
            digest: self.token_sha256,
            identity,
            valid_until: None,
            is_revoked,
        };
        previous.into_iter().chain([current])
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms(at: SystemTime) -> u64 {
    millis(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The time after these milliseconds. One that the clock cannot show never comes.
fn time(at_ms: u64) -> SystemTime {
    const FAR: Duration = Duration::from_secs(1 << 40);
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(at_ms));
    at.unwrap_or(UNIX_EPOCH + FAR)
}
