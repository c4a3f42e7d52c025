//! A join token and the credentials of a node, in memory and as a store keeps them.

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

/// What is known of the certificates of a node. Times are milliseconds since 1970.
///
/// Unknown fields are ignored, so that an earlier version can run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCredentials {
    /// The node.
    pub node_id: NodeId,
    /// Certificates that became valid until then are refused; 0 if none was revoked.
    pub revoked_at_ms: u64,
    /// Its latest certificate, unless that was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<IssuedCertificate>,
}

/// The latest certificate of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    /// The hosts in it: DNS names in lower case, and addresses.
    pub hosts: Vec<String>,
    /// When it expires.
    pub expires_at_ms: u64,
}

impl IssuedCertificate {
    /// A certificate for `hosts` until `expires_at`.
    #[must_use]
    pub fn new(hosts: Vec<String>, expires_at: SystemTime) -> Self {
        Self {
            hosts,
            expires_at_ms: unix_ms(expires_at),
        }
    }
}

impl NodeCredentials {
    pub(crate) fn new(node_id: NodeId) -> Self {
        Self {
            node_id,
            revoked_at_ms: 0,
            certificate: None,
        }
    }

    /// When it was revoked, if it was.
    #[must_use]
    pub fn revoked_at(&self) -> Option<SystemTime> {
        let at = self.revoked_at_ms;
        (at > 0).then(|| UNIX_EPOCH + Duration::from_millis(at))
    }

    /// Its certificate, if that is valid at `now`.
    pub(crate) fn valid_certificate(&self, now: SystemTime) -> Option<&IssuedCertificate> {
        let certificate = self.certificate.as_ref();
        certificate.filter(|certificate| unix_ms(now) < certificate.expires_at_ms)
    }

    /// Whether every certificate that it is about has expired.
    pub(crate) fn is_forgotten(&self, now: SystemTime) -> bool {
        self.revoked_at_ms.saturating_add(millis(MAX_NODE_LIFETIME)) <= unix_ms(now)
            && self.valid_certificate(now).is_none()
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}
