//! The keys of a control plane.

use std::{fmt, time::Duration};

use bearer_auth::KeyLimitsChange;
use pool_registry_types::NodeId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{client::Client, error::ClientError, response::Response, transport::Transport};

/// The field with the last key of a page, when there are more.
const NEXT_AFTER: &str = "next_after";

/// `GET /v2/keys`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Keys {
    /// Sorted by id.
    pub keys: Vec<Key>,
}

/// One key. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Key {
    /// Identifies it for ever.
    pub key_id: String,
    /// For people.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// The only node that it may act for.
    #[serde(default)]
    pub node: Option<NodeId>,
    /// How much of the service it may use.
    #[serde(default)]
    pub limits: KeyLimits,
    /// Whether it is neither revoked nor expired.
    pub valid: bool,
    /// When it was created.
    pub created_at_ms: u64,
    /// When the token before ends.
    #[serde(default)]
    pub previous_valid_until_ms: Option<u64>,
    /// When it ends.
    #[serde(default)]
    pub expires_at_ms: Option<u64>,
    /// When it was revoked.
    #[serde(default)]
    pub revoked_at_ms: Option<u64>,
}

/// A key with its new token. `Debug` does not show the token.
#[derive(Clone, Deserialize)]
#[non_exhaustive]
pub struct KeyWithToken {
    /// The key.
    pub key: Key,
    /// The token, which the server shows this once.
    pub token: String,
}

impl fmt::Debug for KeyWithToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWithToken")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// A key to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Its name.
    pub name: String,
    /// The names of its scopes.
    pub scopes: Vec<String>,
    /// Its node, with the scope `node`.
    pub node: Option<NodeId>,
    /// Its life; `None` without an end.
    pub expires_in: Option<Duration>,
    /// How much of the service it may use.
    pub limits: KeyLimits,
}

/// How much of the service a key may use. What is `None` has no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyLimits {
    /// The only models that it may use, by their names or by aliases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// Requests in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Tokens, read and generated, in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// The same in a day of UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
    /// Requests at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_requests: Option<u64>,
    /// `interactive` or `batch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highest_priority: Option<String>,
    /// Its requests in one turn, beside those of other keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

impl Client {
    /// `GET /v2/keys`, with all pages.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn keys(&self) -> Result<Response<Keys>, ClientError> {
        all_keys(self.transport())
    }

    /// `POST /v2/keys`. The answer has the token.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn create_key(&self, key: &NewKey) -> Result<Response<KeyWithToken>, ClientError> {
        let mut body = json!({"name": key.name, "scopes": key.scopes});
        put(&mut body, "node", key.node.as_ref().map(NodeId::as_str));
        put(&mut body, "expires_in_ms", key.expires_in.map(millis));
        // A server of an earlier version ignores it, so it is sent only where it matters.
        if key.limits != KeyLimits::default() {
            let limits = serde_json::to_value(&key.limits).unwrap_or_default();
            put(&mut body, "limits", Some(limits));
        }
        self.transport().post("/v2/keys", &body)
    }

    /// `POST /v2/keys/{key_id}/rotate`. The answer has the new token; the old one stays valid for
    /// `overlap`, or for the server's default.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn rotate_key(
        &self,
        key_id: &str,
        overlap: Option<Duration>,
        expires_in: Option<Duration>,
    ) -> Result<Response<KeyWithToken>, ClientError> {
        let mut body = json!({});
        put(&mut body, "overlap_ms", overlap.map(millis));
        put(&mut body, "expires_in_ms", expires_in.map(millis));
        self.transport()
            .post(&format!("/v2/keys/{key_id}/rotate"), &body)
    }

    /// `PATCH /v2/keys/{key_id}`: changes limits of a key, from its next request on. The server
    /// checks the values.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn change_key_limits(
        &self,
        key_id: &str,
        change: &KeyLimitsChange,
    ) -> Result<Response<Key>, ClientError> {
        let body = json!({"limits": change});
        self.transport().patch(&format!("/v2/keys/{key_id}"), &body)
    }

    /// `DELETE /v2/keys/{key_id}`: revokes a key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn revoke_key(&self, key_id: &str) -> Result<(), ClientError> {
        self.transport().delete(&format!("/v2/keys/{key_id}"))
    }
}

fn all_keys(transport: &Transport) -> Result<Response<Keys>, ClientError> {
    let mut all: Response<Keys> = transport.get("/v2/keys")?;
    let mut after = None;
    loop {
        let next = all.raw.get(NEXT_AFTER).and_then(Value::as_str);
        let next = next.map(str::to_owned);
        // Stop as well at a server whose pages do not advance.
        if next <= after {
            return Ok(all);
        }
        let path = format!("/v2/keys?after={}", next.as_deref().unwrap_or_default());
        let mut page: Response<Keys> = transport.get(&path)?;
        let keys = page.raw.get_mut("keys").and_then(Value::as_array_mut);
        let keys = keys.map(std::mem::take).unwrap_or_default();
        if let Some(list) = all.raw.get_mut("keys").and_then(Value::as_array_mut) {
            list.extend(keys);
        }
        if let Some(fields) = all.raw.as_object_mut() {
            fields.remove(NEXT_AFTER);
            fields.extend(
                page.raw
                    .get(NEXT_AFTER)
                    .cloned()
                    .map(|next| (NEXT_AFTER.to_owned(), next)),
            );
        }
        after = next;
    }
}

fn put(body: &mut Value, field: &str, value: Option<impl Into<Value>>) {
    if let (Some(fields), Some(value)) = (body.as_object_mut(), value) {
        fields.insert(field.to_owned(), value.into());
    }
}

fn millis(duration: Duration) -> u64 {
    pool_registry_types::millis(duration)
}
