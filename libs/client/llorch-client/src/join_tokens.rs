//! Join tokens of a control plane, and the credentials of its nodes.

use std::{fmt, time::Duration};

use pool_registry_types::{NodeId, millis};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{client::Client, error::ClientError, response::Response};

/// `GET /v2/join-tokens`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct JoinTokens {
    /// Sorted by id.
    pub join_tokens: Vec<JoinToken>,
}

/// One join token. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct JoinToken {
    /// Identifies it for ever.
    pub token_id: String,
    /// The only node that it is for.
    #[serde(default)]
    pub node: Option<NodeId>,
    /// Whether a node can join with it now.
    pub valid: bool,
    /// How many nodes may join with it.
    pub max_uses: u32,
    /// How many have.
    pub uses: u32,
    /// When it was created.
    pub created_at_ms: u64,
    /// When it ends.
    pub expires_at_ms: u64,
    /// When it was revoked.
    #[serde(default)]
    pub revoked_at_ms: Option<u64>,
}

/// A new join token. `Debug` does not show it.
#[derive(Clone, Deserialize)]
#[non_exhaustive]
pub struct NewJoinTokenAnswer {
    /// Its description.
    pub join_token: JoinToken,
    /// The token, which the server shows this once.
    pub token: String,
    /// The fingerprint of the CA, where there is one.
    #[serde(default)]
    pub ca_sha256: Option<String>,
    /// The URL at which nodes reach the control plane, where it knows one.
    #[serde(default)]
    pub url: Option<String>,
}

impl fmt::Debug for NewJoinTokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewJoinTokenAnswer")
            .field("join_token", &self.join_token)
            .field("ca_sha256", &self.ca_sha256)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// A join token to create. What is `None` is the server's default: one use within an hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewJoinToken {
    /// The only node that it is for.
    pub node: Option<NodeId>,
    /// How many nodes may join with it.
    pub uses: Option<u32>,
    /// Its life.
    pub expires_in: Option<Duration>,
}

impl Client {
    /// `POST /v2/join-tokens`. The answer has the token.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn create_join_token(
        &self,
        token: &NewJoinToken,
    ) -> Result<Response<NewJoinTokenAnswer>, ClientError> {
        let fields = [
            ("node", token.node.as_ref().map(|node| json!(node))),
            ("uses", token.uses.map(|uses| json!(uses))),
            (
                "expires_in_ms",
                token.expires_in.map(|life| json!(millis(life))),
            ),
        ];
        let fields = fields.into_iter();
        let body: Value = fields
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
        self.transport().post("/v2/join-tokens", &body)
    }

    /// `GET /v2/join-tokens`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn join_tokens(&self) -> Result<Response<JoinTokens>, ClientError> {
        self.transport().get("/v2/join-tokens")
    }

    /// `DELETE /v2/join-tokens/{token_id}`: revokes a join token.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn revoke_join_token(&self, token_id: &str) -> Result<(), ClientError> {
        self.transport()
            .delete(&format!("/v2/join-tokens/{token_id}"))
    }

    /// `DELETE /v2/nodes/{node_id}/certificate`: revokes the credentials of a node.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn revoke_node(&self, node: &NodeId) -> Result<(), ClientError> {
        self.transport()
            .delete(&format!("/v2/nodes/{node}/certificate"))
    }
}
