//! What the API takes and shows. No answer but that to a creation or a rotation has a token.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use access_keys::{AccessKey, NewKey, Rotation};
use bearer_auth::{AccessToken, KeyLimits, KeyLimitsChange, Scope};
use http_server::{object, optional_object};
use pool_registry_types::NodeId;
use serde::{Deserialize, Serialize};

/// A key to create.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewKeyRequest {
    /// For people. Keys that are in use have different names.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64))]
    name: String,
    /// What it may be used for.
    #[cfg_attr(
        feature = "openapi",
        schema(value_type = Vec<crate::schema::ScopeName>, min_items = 1)
    )]
    scopes: Vec<Scope>,
    /// The only node that it may act for; with the scope `node`.
    #[serde(default)]
    node: Option<NodeId>,
    /// Its life; without it the key has no end.
    #[serde(default)]
    #[cfg_attr(
        feature = "openapi",
        schema(minimum = 1, maximum = 315_360_000_000_u64)
    )]
    expires_in_ms: Option<u64>,
    /// How much of the service it may use; without it, there is no limit.
    #[serde(default, deserialize_with = "optional_object")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::schema::KeyLimits>))]
    limits: Option<KeyLimits>,
}

impl From<NewKeyRequest> for NewKey {
    fn from(request: NewKeyRequest) -> Self {
        Self {
            name: request.name,
            scopes: request.scopes.into_iter().collect(),
            node: request.node,
            lifetime: request.expires_in_ms.map(Duration::from_millis),
            limits: request.limits.unwrap_or_default(),
        }
    }
}

/// How to replace a token; it may be left out.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RotateRequest {
    /// How long the old token stays valid; an hour by default.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(maximum = 2_592_000_000_u64))]
    overlap_ms: Option<u64>,
    /// The new life of the key; without it its end stays.
    #[serde(default)]
    #[cfg_attr(
        feature = "openapi",
        schema(minimum = 1, maximum = 315_360_000_000_u64)
    )]
    expires_in_ms: Option<u64>,
}

impl From<RotateRequest> for Rotation {
    fn from(request: RotateRequest) -> Self {
        Self {
            overlap: request.overlap_ms.map(Duration::from_millis),
            lifetime: request.expires_in_ms.map(Duration::from_millis),
        }
    }
}

/// What changes in a key.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyChangeRequest {
    /// Its new limits: one that is absent stays, and `null` removes it.
    #[serde(deserialize_with = "object")]
    #[cfg_attr(feature = "openapi", schema(value_type = crate::schema::KeyLimits))]
    limits: KeyLimitsChange,
}

impl KeyChangeRequest {
    /// The changed limits, for the audit log.
    pub(crate) fn in_words(&self) -> String {
        // Texts and numbers can always be written.
        serde_json::to_string(&self.limits).unwrap_or_default()
    }
}

impl From<KeyChangeRequest> for KeyLimitsChange {
    fn from(request: KeyChangeRequest) -> Self {
        request.limits
    }
}

/// A key. Times are milliseconds since 1970.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyAnswer {
    /// Identifies it for ever.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    key_id: Arc<str>,
    /// For people.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    name: Arc<str>,
    /// What it may be used for.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<crate::schema::ScopeName>))]
    scopes: Vec<Scope>,
    /// The only node that it may act for.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<NodeId>,
    /// How much of the service it may use; absent without a limit.
    #[serde(skip_serializing_if = "KeyLimits::is_default")]
    #[cfg_attr(feature = "openapi", schema(value_type = crate::schema::KeyLimits))]
    limits: KeyLimits,
    /// Whether it is valid, neither revoked nor expired.
    valid: bool,
    /// When it was created.
    created_at_ms: u64,
    /// When it got its present token, if not at its creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    rotated_at_ms: Option<u64>,
    /// When the token before ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_valid_until_ms: Option<u64>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at_ms: Option<u64>,
}

impl KeyAnswer {
    pub(crate) fn new(key: &AccessKey, now: SystemTime) -> Self {
        Self {
            key_id: Arc::clone(&key.key_id),
            name: Arc::clone(&key.name),
            scopes: key.scopes.iter().collect(),
            node: key.node.clone(),
            limits: key.limits.clone(),
            valid: key.is_valid(now),
            created_at_ms: key.created_at_ms,
            rotated_at_ms: key.rotated_at_ms,
            previous_valid_until_ms: key.previous.map(|previous| previous.valid_until_ms),
            expires_at_ms: key.expires_at_ms,
            revoked_at_ms: key.revoked_at_ms,
        }
    }
}

/// Keys, by id.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeysAnswer {
    /// The keys of this page.
    pub(crate) keys: Vec<KeyAnswer>,
    /// The last one of this page, when there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub(crate) next_after: Option<Arc<str>>,
}

/// A key with its new token.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedKeyAnswer {
    /// The key.
    key: KeyAnswer,
    /// The token. It is shown this once.
    #[serde(serialize_with = "revealed")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    token: AccessToken,
}

impl CreatedKeyAnswer {
    pub(crate) fn new(key: &AccessKey, token: AccessToken, now: SystemTime) -> Self {
        Self {
            key: KeyAnswer::new(key, now),
            token,
        }
    }
}

fn revealed<S: serde::Serializer>(token: &AccessToken, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token.reveal())
}
