//! A join token and a revoked node, in memory and as a store keeps them.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bearer_auth::TokenDigest;
use pool_registry_types::{NodeId, millis};
use serde::{Deserialize, Serialize};

use crate::limits::{MAX_NODE_LIFETIME, REMEMBERED};

/// A join token. Times are milliseconds since 1970.
///
/// Unknown fields are ignored, so that an earlier version can run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Identifies it for ever.
    pub token_id: Arc<str>,
    /// The SHA-256 of the token.
    pub token_sha256: TokenDigest,
    /// The only node that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// How many nodes may join with it.
    pub max_uses: u32,
    /// How many have.
    pub uses: u32,
    /// When it was created.
    pub created_at_ms: u64,
    /// When it ends.
    pub expires_at_ms: u64,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at_ms: Option<u64>,
}

impl JoinToken {
    /// Whether a node can join with it.
    #[must_use]
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.revoked_at_ms.is_none()
            && unix_ms(now) < self.expires_at_ms
            && self.uses < self.max_uses
    }

    /// Whether it has ended so long ago that its holder has noticed.
    pub(crate) fn is_forgotten(&self, now: SystemTime) -> bool {
        let end = self.revoked_at_ms.unwrap_or(self.expires_at_ms);
        end.saturating_add(millis(REMEMBERED)) <= unix_ms(now)
    }
}

/// A node whose certificates are refused if they became valid until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedNode {
    /// The node.
    pub node_id: NodeId,
    /// When it was revoked, in milliseconds since 1970.
    pub revoked_at_ms: u64,
}

impl RevokedNode {
    /// When it was revoked.
    #[must_use]
    pub fn revoked_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.revoked_at_ms)
    }

    /// Whether every certificate of that time has expired.
    pub(crate) fn is_forgotten(&self, now: SystemTime) -> bool {
        self.revoked_at_ms.saturating_add(millis(MAX_NODE_LIFETIME)) <= unix_ms(now)
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}
