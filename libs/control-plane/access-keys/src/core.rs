//! `(state, event, now) → (state, effects)`.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bearer_auth::{
    Credential, KeyLimits, KeyLimitsChange, Scope, Scopes, TokenDigest, is_key_name,
};
use pool_registry_types::{NodeId, millis};

use crate::{
    error::KeyError,
    key::{AccessKey, PreviousToken, unix_ms},
    limits::{DEFAULT_OVERLAP, MAX_KEY_LIFETIME, MAX_KEYS, MAX_OVERLAP},
};

/// All keys. Cloning is cheap enough for a change that may have to be taken back.
#[derive(Debug, Clone, Default)]
pub struct AccessKeys {
    keys: BTreeMap<Arc<str>, Arc<AccessKey>>,
    /// Whether there is a credential besides the keys that can manage them.
    has_api_token: bool,
}

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A new key with this token.
    Create {
        /// The digest of the token.
        digest: TokenDigest,
        /// The key.
        request: NewKey,
    },
    /// Another token for a key.
    Rotate {
        /// The key.
        key_id: Arc<str>,
        /// The digest of the new token.
        digest: TokenDigest,
        /// How.
        rotation: Rotation,
    },
    /// Other limits for a key.
    ChangeLimits {
        /// The key.
        key_id: Arc<str>,
        /// What changes.
        change: KeyLimitsChange,
    },
    /// The end of a key.
    Revoke {
        /// The key.
        key_id: Arc<str>,
    },
}

/// A key to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Its name.
    pub name: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// Its node, with the scope `node`.
    pub node: Option<NodeId>,
    /// Its life; `None` without an end.
    pub lifetime: Option<Duration>,
    /// How much of the service it may use.
    pub limits: KeyLimits,
}

impl NewKey {
    /// A key without an end.
    #[must_use]
    pub fn new(name: impl Into<String>, scopes: Scopes) -> Self {
        Self {
            name: name.into(),
            scopes,
            node: None,
            lifetime: None,
            limits: KeyLimits::default(),
        }
    }
}

/// How a token is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rotation {
    /// How long the old token stays valid; an hour if `None`.
    pub overlap: Option<Duration>,
    /// The new life of the key from now on; `None` leaves its end as it is.
    pub lifetime: Option<Duration>,
}

/// What follows from an event. Store it, then publish the [`AccessKeys::credentials`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Store this key in place of its record.
    Save(Arc<AccessKey>),
    /// Remove the record of this key.
    Forget(Arc<str>),
}

/// Some of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysPage {
    /// By id.
    pub keys: Vec<Arc<AccessKey>>,
    /// Whether there are more.
    pub more: bool,
}

impl AccessKeys {
    /// The keys of a store. `has_api_token` says whether there is a credential besides them.
    #[must_use]
    pub fn restore(keys: Vec<AccessKey>, has_api_token: bool) -> Self {
        let keys = keys.into_iter().map(Arc::new);
        Self {
            keys: keys.map(|key| (Arc::clone(&key.key_id), key)).collect(),
            has_api_token,
        }
    }

    /// Takes in an event.
    ///
    /// # Errors
    /// When it is refused; then nothing has changed.
    pub fn apply(&mut self, event: Event, now: SystemTime) -> Result<Vec<Effect>, KeyError> {
        let changed = match event {
            Event::Create { digest, request } => self.created(digest, request, now)?,
            Event::Rotate {
                key_id,
                digest,
                rotation,
            } => self.rotated(&key_id, digest, rotation, now)?,
            Event::ChangeLimits { key_id, change } => self.limited(&key_id, &change)?,
            Event::Revoke { key_id } => self.revoked(&key_id, now)?,
        };
        self.check_access(&changed)?;
        let mut effects = self.forget_old(now);
        let changed = Arc::new(changed);
        self.keys
            .insert(Arc::clone(&changed.key_id), Arc::clone(&changed));
        effects.push(Effect::Save(changed));
        Ok(effects)
    }

    /// The key with this id.
    #[must_use]
    pub fn get(&self, key_id: &str) -> Option<&Arc<AccessKey>> {
        self.keys.get(key_id)
    }

    /// The number of keys, those included that have ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Up to `limit` keys with an id after this one.
    #[must_use]
    pub fn page(&self, after: Option<&str>, limit: usize) -> KeysPage {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.keys.range::<str, _>((from, Bound::Unbounded));
        let keys = rest.by_ref().take(limit);
        KeysPage {
            keys: keys.map(|(_, key)| Arc::clone(key)).collect(),
            more: rest.next().is_some(),
        }
    }

    /// The tokens of all keys, for the check of requests. Ends are checked there.
    #[must_use]
    pub fn credentials(&self) -> Vec<Credential> {
        let keys = self.keys.values();
        keys.flat_map(|key| key.credentials()).collect()
    }

    /// Whether keys cannot be managed: an operator's key is missing, and so is the API token.
    #[must_use]
    pub fn locks_out(&self) -> bool {
        let mut keys = self.keys.values();
        !self.has_api_token && !self.is_empty() && !keys.any(|key| key.is_lasting_operator())
    }

    fn created(
        &self,
        digest: TokenDigest,
        request: NewKey,
        now: SystemTime,
    ) -> Result<AccessKey, KeyError> {
        if !is_key_name(&request.name) {
            return Err(KeyError::BadName);
        }
        if request.scopes.is_empty() {
            return Err(KeyError::NoScope);
        }
        match (request.scopes.contains(Scope::Node), &request.node) {
            (true, None) => return Err(KeyError::NodeMissing),
            (false, Some(_)) => return Err(KeyError::NodeWithoutScope),
            _ => {}
        }
        check_limits(&request.limits, request.scopes)?;
        let expires_at_ms = end(request.lifetime, now)?;
        let name: Arc<str> = request.name.into();
        self.check_name(&name, None, now)?;
        let key_id: Arc<str> = digest.short().into();
        if self.keys.contains_key(&key_id) {
            return Err(KeyError::IdTaken);
        }
        let kept = self.keys.values().filter(|key| !key.is_forgotten(now));
        if kept.count() >= MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        Ok(AccessKey {
            key_id,
            name,
            scopes: request.scopes,
            node: request.node,
            limits: request.limits,
            created_at_ms: unix_ms(now),
            expires_at_ms,
            revoked_at_ms: None,
            token_sha256: digest,
            rotated_at_ms: None,
            previous: None,
        })
    }

    fn rotated(
        &self,
        key_id: &str,
        digest: TokenDigest,
        rotation: Rotation,
        now: SystemTime,
    ) -> Result<AccessKey, KeyError> {
        let key = self.known(key_id)?;
        let overlap = rotation.overlap.unwrap_or(DEFAULT_OVERLAP);
        if overlap > MAX_OVERLAP {
            return Err(KeyError::BadOverlap);
        }
        if key.revoked_at_ms.is_some() {
            return Err(KeyError::Revoked(Arc::clone(&key.name)));
        }
        let new_end = end(rotation.lifetime, now)?;
        if new_end.is_none() && !key.is_valid(now) {
            return Err(KeyError::Expired(Arc::clone(&key.name)));
        }
        // An expired key lives again, and its name may have another owner.
        self.check_name(&key.name, Some(key_id), now)?;
        let now_ms = unix_ms(now);
        Ok(AccessKey {
            token_sha256: digest,
            rotated_at_ms: Some(now_ms),
            previous: Some(PreviousToken {
                token_sha256: key.token_sha256,
                valid_until_ms: now_ms.saturating_add(millis(overlap)),
            }),
            expires_at_ms: new_end.or(key.expires_at_ms),
            ..AccessKey::clone(key)
        })
    }

    /// An expired key may get other limits, because a rotation may let it live again.
    fn limited(&self, key_id: &str, change: &KeyLimitsChange) -> Result<AccessKey, KeyError> {
        let key = self.known(key_id)?;
        if key.revoked_at_ms.is_some() {
            return Err(KeyError::Revoked(Arc::clone(&key.name)));
        }
        let limits = key.limits.changed(change).map_err(KeyError::Limits)?;
        check_limits(&limits, key.scopes)?;
        Ok(AccessKey {
            limits,
            ..AccessKey::clone(key)
        })
    }

    /// Revoking again changes nothing, and stores the key once more.
    fn revoked(&self, key_id: &str, now: SystemTime) -> Result<AccessKey, KeyError> {
        let key = self.known(key_id)?;
        Ok(AccessKey {
            revoked_at_ms: key.revoked_at_ms.or(Some(unix_ms(now))),
            ..AccessKey::clone(key)
        })
    }

    /// Living keys have different names.
    fn check_name(
        &self,
        name: &Arc<str>,
        own_id: Option<&str>,
        now: SystemTime,
    ) -> Result<(), KeyError> {
        let is_taken = self
            .keys
            .values()
            .any(|key| key.name == *name && key.is_valid(now) && own_id != Some(&*key.key_id));
        if is_taken {
            return Err(KeyError::NameTaken(Arc::clone(name)));
        }
        Ok(())
    }

    fn known(&self, key_id: &str) -> Result<&Arc<AccessKey>, KeyError> {
        self.get(key_id)
            .ok_or_else(|| KeyError::Unknown(key_id.to_owned()))
    }

    /// Refuses a change after which keys could not be managed. While they already cannot, every
    /// change that does not make it worse is allowed.
    fn check_access(&self, changed: &AccessKey) -> Result<(), KeyError> {
        if self.has_api_token || changed.is_lasting_operator() || self.locks_out() {
            return Ok(());
        }
        let mut others = self
            .keys
            .values()
            .filter(|key| key.key_id != changed.key_id);
        if others.any(|key| key.is_lasting_operator()) {
            return Ok(());
        }
        Err(KeyError::LocksOut)
    }

    fn forget_old(&mut self, now: SystemTime) -> Vec<Effect> {
        let old = self.keys.extract_if(.., |_, key| key.is_forgotten(now));
        old.map(|(key_id, _)| Effect::Forget(key_id)).collect()
    }
}

/// Only a key that may use models has limits.
fn check_limits(limits: &KeyLimits, scopes: Scopes) -> Result<(), KeyError> {
    if !limits.is_default() && !scopes.with_included().contains(Scope::Client) {
        return Err(KeyError::LimitsWithoutScope);
    }
    Ok(())
}

/// The end of a life that begins now.
fn end(lifetime: Option<Duration>, now: SystemTime) -> Result<Option<u64>, KeyError> {
    let Some(lifetime) = lifetime else {
        return Ok(None);
    };
    if lifetime < Duration::from_millis(1) || lifetime > MAX_KEY_LIFETIME {
        return Err(KeyError::BadLifetime);
    }
    Ok(Some(unix_ms(now).saturating_add(millis(lifetime))))
}
