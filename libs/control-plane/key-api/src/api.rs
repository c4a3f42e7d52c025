//! The keys, their store, and the policy that they are published to.

use std::{fmt, sync::Arc, time::SystemTime};

use access_keys::{AccessKey, AccessKeys, Effect, Event, KeyError, KeysPage};
use bearer_auth::{AuthPolicy, KeySource};
use registry_store::{KeyStore, StoreError};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The keys of this process. Clones share them.
#[derive(Clone)]
pub struct KeyApi {
    keys: Arc<Mutex<AccessKeys>>,
    store: Arc<dyn KeyStore>,
    policy: AuthPolicy,
    before_new_limits: Option<LimitsHook>,
}

/// What happens before a key, by its id, gets other limits.
type LimitsHook = Arc<dyn Fn(&Arc<str>) + Send + Sync>;

/// Why a change did not happen, or only in part.
#[derive(Debug)]
pub(crate) enum ChangeError {
    /// It is not allowed.
    Refused(KeyError),
    /// The store failed. A revoked key is refused all the same.
    NotSaved { is_revocation: bool },
    /// The work on the store panicked.
    Panicked,
}

impl KeyApi {
    /// Loads the keys of `store` and publishes them to `policy`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load(store: Arc<dyn KeyStore>, policy: AuthPolicy) -> Result<Self, StoreError> {
        let keys = AccessKeys::restore(store.load_keys()?, policy.has_token());
        if keys.locks_out() {
            tracing::warn!(
                "keys exist, but none with the scope operator and without an end, and no API token \
                 is set: keys cannot be managed; set LLORCH_API_TOKEN and start again"
            );
        }
        if !keys.is_empty() {
            tracing::info!(
                keys = keys.len(),
                "keys loaded: every peer must present a token"
            );
        }
        policy.replace_keys(KeySource::Store, keys.credentials());
        Ok(Self {
            keys: Arc::new(Mutex::new(keys)),
            store,
            policy,
            before_new_limits: None,
        })
    }

    /// Calls `hook` with the id of a key before other limits of it take effect: what a key has used
    /// without limits may count for them.
    #[must_use]
    pub fn before_new_limits(mut self, hook: impl Fn(&Arc<str>) + Send + Sync + 'static) -> Self {
        self.before_new_limits = Some(Arc::new(hook));
        self
    }

    /// Up to `limit` keys with an id after this one.
    pub(crate) async fn page(&self, after: Option<&str>, limit: usize) -> KeysPage {
        self.keys.lock().await.page(after, limit)
    }

    /// Makes a change; returns the key as it is then.
    ///
    /// The work is a blocking task: it goes on to its end when the client leaves.
    pub(crate) async fn change(&self, event: Event) -> Result<Arc<AccessKey>, ChangeError> {
        let keys = Arc::clone(&self.keys).lock_owned().await;
        let api = self.clone();
        let work = tokio::task::spawn_blocking(move || api.change_locked(keys, event));
        work.await.unwrap_or(Err(ChangeError::Panicked))
    }
}

impl KeyApi {
    fn change_locked(
        &self,
        mut keys: OwnedMutexGuard<AccessKeys>,
        event: Event,
    ) -> Result<Arc<AccessKey>, ChangeError> {
        let is_revocation = matches!(event, Event::Revoke { .. });
        let limited = match &event {
            Event::ChangeLimits { key_id, .. } => Some(Arc::clone(key_id)),
            _ => None,
        };
        let mut changed = keys.clone();
        let effects = changed
            .apply(event, SystemTime::now())
            .map_err(ChangeError::Refused)?;
        let key = effects.iter().find_map(|effect| match effect {
            Effect::Save(key) => Some(Arc::clone(key)),
            Effect::Forget(_) => None,
        });
        if is_revocation {
            publish(&mut keys, changed, &self.policy);
            save(&*self.store, &effects, is_revocation)?;
        } else {
            save(&*self.store, &effects, is_revocation)?;
            if let (Some(hook), Some(key_id)) = (&self.before_new_limits, &limited) {
                hook(key_id);
            }
            publish(&mut keys, changed, &self.policy);
        }
        key.ok_or(ChangeError::Panicked)
    }
}

fn save(store: &dyn KeyStore, effects: &[Effect], is_revocation: bool) -> Result<(), ChangeError> {
    store.apply_keys(effects).map_err(|error| {
        let error: &(dyn std::error::Error + 'static) = &error;
        tracing::warn!(error, "a change of the keys could not be saved");
        ChangeError::NotSaved { is_revocation }
    })
}

fn publish(keys: &mut AccessKeys, changed: AccessKeys, policy: &AuthPolicy) {
    policy.replace_keys(KeySource::Store, changed.credentials());
    *keys = changed;
}

impl fmt::Debug for KeyApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyApi")
            .field("store", &self.store)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
