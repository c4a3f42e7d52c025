//! `(state, event, now) → (state, effects)`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bearer_auth::TokenDigest;
use pool_registry_types::{NodeId, millis};

use crate::{
    error::{JoinError, JoinTokenError},
    host::is_of_every_machine,
    limits::{DEFAULT_LIFETIME, MAX_JOIN_TOKENS, MAX_JOINED_NODES, MAX_LIFETIME, MAX_USES},
    token::{IssuedCertificate, JoinToken, NodeCredentials, unix_ms},
};

/// All join tokens and credentials of nodes. Cloning is cheap enough for a change that may have to
/// be taken back.
#[derive(Debug, Clone, Default)]
pub struct JoinState {
    tokens: BTreeMap<Arc<str>, Arc<JoinToken>>,
    nodes: BTreeMap<NodeId, Arc<NodeCredentials>>,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An operator creates a token.
    Create {
        /// The digest of the token.
        digest: TokenDigest,
        /// What it is for.
        request: NewJoinToken,
    },
    /// A node joins.
    Use {
        /// The digest of what it presents.
        digest: TokenDigest,
        /// The node.
        node: NodeId,
        /// The certificate that it gets. Without a CA it gets none.
        certificate: Option<IssuedCertificate>,
    },
    /// A node renews its certificate.
    Renew {
        /// The node.
        node: NodeId,
        /// Its next certificate.
        certificate: IssuedCertificate,
    },
    /// An operator revokes a token.
    Revoke {
        /// The token.
        token_id: Arc<str>,
    },
    /// An operator revokes the certificates of a node.
    RevokeNode {
        /// The node.
        node: NodeId,
    },
}

/// A token to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJoinToken {
    /// The only node that it is for.
    pub node: Option<NodeId>,
    /// How many nodes may join with it.
    pub uses: u32,
    /// Its life.
    pub lifetime: Duration,
}

impl Default for NewJoinToken {
    /// For one node, within an hour.
    fn default() -> Self {
        Self {
            node: None,
            uses: 1,
            lifetime: DEFAULT_LIFETIME,
        }
    }
}

/// What follows from an event: store it before anyone is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Store this token in place of its record.
    SaveToken(Arc<JoinToken>),
    /// Remove the record of this token.
    ForgetToken(Arc<str>),
    /// Store this node in place of its record.
    SaveNode(Arc<NodeCredentials>),
    /// Remove the record of this node.
    ForgetNode(NodeId),
}

impl JoinState {
    /// What a store has kept.
    #[must_use]
    pub fn restore(tokens: Vec<JoinToken>, nodes: Vec<NodeCredentials>) -> Self {
        let tokens = tokens.into_iter().map(Arc::new);
        let nodes = nodes.into_iter().map(Arc::new);
        Self {
            tokens: tokens
                .map(|token| (Arc::clone(&token.token_id), token))
                .collect(),
            nodes: nodes.map(|node| (node.node_id.clone(), node)).collect(),
        }
    }

    /// Takes in an event.
    ///
    /// # Errors
    /// When it is refused; then nothing has changed.
    pub fn apply(&mut self, event: Event, now: SystemTime) -> Result<Vec<Effect>, JoinTokenError> {
        let mut joined = None;
        let changed = match event {
            Event::Create { digest, request } => self.created(digest, request, now)?,
            Event::Use {
                digest,
                node,
                certificate,
            } => {
                let hosts = certificate
                    .iter()
                    .flat_map(|certificate| &certificate.hosts);
                let hosts: Vec<&str> = hosts.map(String::as_str).collect();
                let used = self.check(digest, &node, &hosts, now)?;
                joined = certificate.map(|certificate| (node, certificate));
                used
            }
            Event::Renew { node, certificate } => {
                let mut effects = self.forget_old(now);
                effects.push(self.issue(node, certificate));
                return Ok(effects);
            }
            Event::Revoke { token_id } => self.revoked(&token_id, now)?,
            Event::RevokeNode { node } => return Ok(self.revoke_node(node, now)),
        };
        let mut effects = self.forget_old(now);
        if let Some((node, certificate)) = joined {
            effects.push(self.issue(node, certificate));
        }
        let changed = Arc::new(changed);
        self.tokens
            .insert(Arc::clone(&changed.token_id), Arc::clone(&changed));
        effects.push(Effect::SaveToken(changed));
        Ok(effects)
    }

    /// Whether the token with this digest lets `node` join at `hosts` now, and the token after
    /// that. It changes nothing.
    ///
    /// A token that was made for the node lets it take the place of a node that has joined before:
    /// an operator has named it.
    ///
    /// # Errors
    /// As [`Event::Use`] has them.
    pub fn check(
        &self,
        digest: TokenDigest,
        node: &NodeId,
        hosts: &[&str],
        now: SystemTime,
    ) -> Result<JoinToken, JoinError> {
        let token = self.used(digest, node, now)?;
        let valid = self.nodes.values().filter_map(|known| {
            let certificate = known.valid_certificate(now)?;
            Some((&known.node_id, certificate))
        });
        let mut count: usize = 0;
        for (known, certificate) in valid {
            if known == node {
                if token.node.is_none() {
                    return Err(JoinError::HasCredentials(node.clone()));
                }
                continue;
            }
            count = count.saturating_add(1);
            let taken = hosts.iter().find(|host| {
                !is_of_every_machine(host) && certificate.hosts.iter().any(|other| other == *host)
            });
            if let Some(host) = taken.filter(|_| token.node.is_none()) {
                return Err(JoinError::HostOfOther {
                    host: (*host).to_owned(),
                    other: known.clone(),
                });
            }
        }
        if count >= MAX_JOINED_NODES && !hosts.is_empty() {
            return Err(JoinError::TooManyNodes);
        }
        Ok(token)
    }

    /// The token with this id.
    #[must_use]
    pub fn get(&self, token_id: &str) -> Option<&Arc<JoinToken>> {
        self.tokens.get(token_id)
    }

    /// All tokens, by id.
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<JoinToken>> {
        self.tokens.values()
    }

    /// When this node was revoked; its next certificate becomes valid later.
    #[must_use]
    pub fn revoked_at(&self, node: &NodeId) -> Option<SystemTime> {
        self.nodes.get(node).and_then(|node| node.revoked_at())
    }

    /// All revocations, for the check of requests.
    #[must_use]
    pub fn revocations(&self) -> HashMap<NodeId, SystemTime> {
        let revoked = self.nodes.values();
        revoked
            .filter_map(|node| Some((node.node_id.clone(), node.revoked_at()?)))
            .collect()
    }

    fn created(
        &self,
        digest: TokenDigest,
        request: NewJoinToken,
        now: SystemTime,
    ) -> Result<JoinToken, JoinTokenError> {
        let NewJoinToken {
            node,
            uses,
            lifetime,
        } = request;
        if !(1..=MAX_USES).contains(&uses) {
            return Err(JoinTokenError::BadUses);
        }
        if lifetime < Duration::from_millis(1) || lifetime > MAX_LIFETIME {
            return Err(JoinTokenError::BadLifetime);
        }
        let token_id: Arc<str> = digest.short().into();
        if self.tokens.contains_key(&token_id) {
            return Err(JoinTokenError::IdTaken);
        }
        let kept = self.tokens.values();
        if kept.filter(|token| !token.is_forgotten(now)).count() >= MAX_JOIN_TOKENS {
            return Err(JoinTokenError::TooMany);
        }
        let now_ms = unix_ms(now);
        Ok(JoinToken {
            token_id,
            token_sha256: digest,
            node,
            max_uses: uses,
            uses: 0,
            created_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(millis(lifetime)),
            revoked_at_ms: None,
        })
    }

    /// The id is a part of the digest, so it finds the token; the whole digest decides.
    fn used(
        &self,
        digest: TokenDigest,
        node: &NodeId,
        now: SystemTime,
    ) -> Result<JoinToken, JoinError> {
        let known = self.tokens.get(digest.short().as_str());
        let token = known
            .filter(|token| token.token_sha256.matches(&digest))
            .ok_or(JoinError::Unknown)?;
        if token.revoked_at_ms.is_some() {
            return Err(JoinError::Revoked);
        }
        if token.expires_at_ms <= unix_ms(now) {
            return Err(JoinError::Expired);
        }
        if token.uses >= token.max_uses {
            return Err(JoinError::UsedUp);
        }
        if let Some(own) = token.node.as_ref().filter(|own| *own != node) {
            return Err(JoinError::OtherNode(own.clone()));
        }
        Ok(JoinToken {
            uses: token.uses.saturating_add(1),
            ..JoinToken::clone(token)
        })
    }

    /// Revoking again changes nothing, and stores the token once more.
    fn revoked(&self, token_id: &str, now: SystemTime) -> Result<JoinToken, JoinTokenError> {
        let token = self.get(token_id);
        let token = token.ok_or_else(|| JoinTokenError::Unknown(token_id.to_owned()))?;
        Ok(JoinToken {
            revoked_at_ms: token.revoked_at_ms.or(Some(unix_ms(now))),
            ..JoinToken::clone(token)
        })
    }

    /// A later revocation takes the place of an earlier one.
    fn revoke_node(&mut self, node_id: NodeId, now: SystemTime) -> Vec<Effect> {
        let mut effects = self.forget_old(now);
        let before = self.nodes.get(&node_id);
        let before = before.map_or(0, |before| before.revoked_at_ms);
        effects.push(self.save(NodeCredentials {
            // The clock may have been set back.
            revoked_at_ms: unix_ms(now).max(before),
            ..NodeCredentials::new(node_id)
        }));
        effects
    }

    /// The node has this certificate from now on.
    fn issue(&mut self, node: NodeId, certificate: IssuedCertificate) -> Effect {
        let before = self.nodes.get(&node);
        let before = before.map_or_else(
            || NodeCredentials::new(node),
            |before| NodeCredentials::clone(before),
        );
        self.save(NodeCredentials {
            certificate: Some(certificate),
            ..before
        })
    }

    fn save(&mut self, node: NodeCredentials) -> Effect {
        let node = Arc::new(node);
        self.nodes.insert(node.node_id.clone(), Arc::clone(&node));
        Effect::SaveNode(node)
    }

    fn forget_old(&mut self, now: SystemTime) -> Vec<Effect> {
        let tokens = self
            .tokens
            .extract_if(.., |_, token| token.is_forgotten(now));
        let tokens = tokens.map(|(token_id, _)| Effect::ForgetToken(token_id));
        let nodes = self.nodes.extract_if(.., |_, node| node.is_forgotten(now));
        tokens
            .chain(nodes.map(|(node, _)| Effect::ForgetNode(node)))
            .collect()
    }
}
