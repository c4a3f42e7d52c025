//! The keys that are valid now, as a snapshot that requests read without a lock.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::{auth_error::AuthError, identity::Identity, principal::Principal, token::TokenDigest};

/// A token of a key, by its digest.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The digest of the token.
    pub digest: TokenDigest,
    /// The key.
    pub identity: Arc<Identity>,
    /// When this token ends, if before its key.
    pub valid_until: Option<SystemTime>,
    /// Whether the key was revoked. Its holder is told so.
    pub is_revoked: bool,
}

/// Where keys come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// The API, and the store behind it.
    Store,
    /// A file that other tools write.
    File,
}

/// All keys of all sources. The snapshot is never changed, only replaced.
#[derive(Default)]
pub(crate) struct Keys {
    snapshot: ArcSwap<Snapshot>,
    /// Writers take turns.
    sources: Mutex<Sources>,
}

#[derive(Default)]
struct Sources {
    store: Vec<Credential>,
    file: Vec<Credential>,
}

/// The lookup is by the digest of what a client presents. Its time may tell how much of that
/// digest a stored one shares, and no more: who does not have the token cannot choose its digest,
/// and 256 random bits cannot be guessed from a part of their digest.
#[derive(Default)]
pub(crate) struct Snapshot {
    by_digest: HashMap<TokenDigest, Credential>,
    /// The keys that are not revoked, by id.
    valid: HashSet<Arc<str>>,
}

impl Keys {
    /// Replaces all keys of a source.
    pub(crate) fn replace(&self, source: KeySource, credentials: Vec<Credential>) {
        let mut sources = self.sources.lock();
        match source {
            KeySource::Store => sources.store = credentials,
            KeySource::File => sources.file = credentials,
        }
        // The file wins for a token in both: its writer does not know the store.
        let all = sources.store.iter().chain(&sources.file);
        let all = all.map(|credential| (credential.digest, credential.clone()));
        self.snapshot.store(Arc::new(Snapshot::new(all.collect())));
    }

    /// The keys of this moment.
    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }
}

impl Snapshot {
    fn new(by_digest: HashMap<TokenDigest, Credential>) -> Self {
        let valid = by_digest
            .values()
            .filter(|credential| !credential.is_revoked);
        let valid = valid.map(|credential| Arc::clone(&credential.identity.id));
        Self {
            valid: valid.collect(),
            by_digest,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_digest.is_empty()
    }

    /// Whether a key that was found before is still valid. Another token of it may have come since.
    pub(crate) fn holds(&self, key: &Identity, now: SystemTime) -> Result<(), AuthError> {
        if !self.valid.contains(&key.id) {
            return Err(AuthError::Revoked);
        }
        if key.expires_at.is_some_and(|end| end <= now) {
            return Err(AuthError::Expired);
        }
        Ok(())
    }

    /// The holder of the token with this digest.
    pub(crate) fn find(
        &self,
        digest: &TokenDigest,
        now: SystemTime,
    ) -> Result<Principal, AuthError> {
        let credential = self.by_digest.get(digest).ok_or(AuthError::WrongToken)?;
        let ends = [credential.valid_until, credential.identity.expires_at];
        if credential.is_revoked {
            Err(AuthError::Revoked)
        } else if ends.into_iter().flatten().any(|end| end <= now) {
            Err(AuthError::Expired)
        } else {
            Ok(Principal::Key(Arc::clone(&credential.identity)))
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("tokens", &self.load().by_digest.len())
            .finish()
    }
}
