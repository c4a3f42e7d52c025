//! What the API takes and shows. No answer but that to a creation has a join token.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bearer_auth::AccessToken;
use join_tokens::{JoinToken, NewJoinToken};
use pool_registry_types::{HttpUrl, NodeId, PemText};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A join token to create; every field may be left out.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "Map<String, Value>")]
pub struct NewJoinTokenRequest {
    /// The only node that it is for.
    #[serde(default)]
    node: Option<NodeId>,
    /// How many nodes may join with it; one by default.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 10_000))]
    uses: Option<u32>,
    /// Its life; an hour by default, at most 30 days.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 2_592_000_000_u64))]
    expires_in_ms: Option<u64>,
}

/// The same as serde reads it. A list would do for it too, whose fields have no names.
#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    node: Option<NodeId>,
    #[serde(default)]
    uses: Option<u32>,
    #[serde(default)]
    expires_in_ms: Option<u64>,
}

impl TryFrom<Map<String, Value>> for NewJoinTokenRequest {
    type Error = String;

    fn try_from(object: Map<String, Value>) -> Result<Self, String> {
        let fields = serde_path_to_error::deserialize(Value::Object(object));
        let Fields {
            node,
            uses,
            expires_in_ms,
        } = fields.map_err(|error| error.to_string())?;
        Ok(Self {
            node,
            uses,
            expires_in_ms,
        })
    }
}

impl From<NewJoinTokenRequest> for NewJoinToken {
    fn from(request: NewJoinTokenRequest) -> Self {
        let default = Self::default();
        Self {
            node: request.node,
            uses: request.uses.unwrap_or(default.uses),
            lifetime: request
                .expires_in_ms
                .map_or(default.lifetime, Duration::from_millis),
        }
    }
}

/// A join token. Times are milliseconds since 1970.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JoinTokenAnswer {
    /// Identifies it for ever.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    token_id: Arc<str>,
    /// The only node that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<NodeId>,
    /// Whether a node can join with it now.
    valid: bool,
    /// How many nodes may join with it.
    max_uses: u32,
    /// How many have.
    uses: u32,
    /// When it was created.
    created_at_ms: u64,
    /// When it ends.
    expires_at_ms: u64,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at_ms: Option<u64>,
}

impl JoinTokenAnswer {
    pub(crate) fn new(token: &JoinToken, now: SystemTime) -> Self {
        Self {
            token_id: Arc::clone(&token.token_id),
            node: token.node.clone(),
            valid: token.is_valid(now),
            max_uses: token.max_uses,
            uses: token.uses,
            created_at_ms: token.created_at_ms,
            expires_at_ms: token.expires_at_ms,
            revoked_at_ms: token.revoked_at_ms,
        }
    }
}

/// All join tokens, by id.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JoinTokensAnswer {
    /// The tokens.
    #[cfg_attr(feature = "openapi", schema(max_items = 1000))]
    pub(crate) join_tokens: Vec<JoinTokenAnswer>,
}

/// A new join token.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedJoinTokenAnswer {
    /// Its description.
    join_token: JoinTokenAnswer,
    /// The token. It is shown this once.
    #[serde(serialize_with = "revealed")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    token: AccessToken,
    /// The SHA-256 fingerprint of the CA, by which a node trusts the control plane. Absent where
    /// there is no CA.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_sha256: Option<String>,
    /// The URL at which nodes reach the control plane. Absent where it listens on loopback only, or
    /// does not know its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<HttpUrl>,
}

impl CreatedJoinTokenAnswer {
    pub(crate) fn new(
        join_token: &JoinToken,
        token: AccessToken,
        ca_sha256: Option<String>,
        url: Option<HttpUrl>,
        now: SystemTime,
    ) -> Self {
        Self {
            join_token: JoinTokenAnswer::new(join_token, now),
            token,
            ca_sha256,
            url,
        }
    }
}

/// A renewed certificate.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(crate) struct CertificateAnswer {
    /// The certificate, and that of the CA behind it.
    #[cfg_attr(feature = "openapi", schema(value_type = String, max_length = 16384))]
    pub(crate) certificate: PemText,
}

/// A revoked node.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(crate) struct RevokedAnswer {
    /// The node. Its certificates and keys are refused from now on.
    pub(crate) node_id: NodeId,
    /// Always true.
    pub(crate) revoked: bool,
}

fn revealed<S: serde::Serializer>(token: &AccessToken, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token.reveal())
}
