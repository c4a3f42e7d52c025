//! The keys of nodes that join a control plane without a CA.

use std::{sync::Arc, time::SystemTime};

use access_keys::{AccessKey, Event, NewKey};
use bearer_auth::{AccessToken, MAX_KEY_NAME_CHARS, Scope};
use http_server::ApiError;
use pool_registry_types::NodeId;

use crate::{
    KeyApi,
    errors::{internal, refused},
};

/// How much of a long id the name of a key has.
const LONG_ID_CHARS: usize = 40;

impl KeyApi {
    /// A new key for the node with this id. Its keys before are revoked.
    ///
    /// # Errors
    /// As `POST /v2/keys`.
    pub async fn replace_node_key(&self, node: &NodeId) -> Result<AccessToken, ApiError> {
        self.revoke_node_keys(node).await?;
        let token = AccessToken::generate().map_err(|_| internal())?;
        let digest = token.digest();
        let mut name = format!("node {node}");
        if name.len() > MAX_KEY_NAME_CHARS {
            let id: String = node.as_str().chars().take(LONG_ID_CHARS).collect();
            name = format!("node {id}… {}", digest.short());
        }
        let mut request = NewKey::new(name, Scope::Node.into());
        request.node = Some(node.clone());
        let event = Event::Create { digest, request };
        self.change(event).await.map_err(|error| refused(&error))?;
        Ok(token)
    }

    /// Whether the node with this id has a key that is valid now.
    pub async fn has_node_key(&self, node: &NodeId) -> bool {
        let now = SystemTime::now();
        let keys = self.page(None, usize::MAX).await.keys;
        keys.iter()
            .any(|key| key.node.as_ref() == Some(node) && key.is_valid(now))
    }

    /// Revokes all keys of the node with this id.
    ///
    /// # Errors
    /// As `DELETE /v2/keys/{key_id}`.
    pub async fn revoke_node_keys(&self, node: &NodeId) -> Result<(), ApiError> {
        let keys = self.page(None, usize::MAX).await.keys;
        let is_of_node =
            |key: &&Arc<AccessKey>| key.node.as_ref() == Some(node) && key.revoked_at_ms.is_none();
        for key in keys.iter().filter(is_of_node) {
            let key_id = Arc::clone(&key.key_id);
            let revoked = self.change(Event::Revoke { key_id }).await;
            revoked.map_err(|error| refused(&error))?;
        }
        Ok(())
    }
}
