//! The state, its store, and the policy that revocations are published to.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use address_ranges::AddressRanges;
use bearer_auth::{AuthPolicy, CertificateHolder, TokenDigest};
use join_tokens::{Effect, Event, JoinError, JoinState, JoinToken, JoinTokenError};
use key_api::KeyApi;
use node_ca::{CaDirectory, DEFAULT_NODE_LIFETIME, Host, SignError};
use pool_registry_types::{HttpUrl, NodeId};
use registry_store::{JoinStore, StoreError};
use tls_config::IdentityFiles;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How nodes join.
#[derive(Debug, Clone)]
pub struct JoinConfig {
    /// The CA that signs their certificates. Without one they get tokens.
    pub ca: Option<Arc<CaDirectory>>,
    /// How long a certificate is valid.
    pub lifetime: Duration,
    /// The digest of the token that the control plane presents to nodes.
    pub own_token: Option<TokenDigest>,
    /// The addresses that nodes may have.
    pub addresses: AddressRanges,
    /// The certificates that this control plane presents beside that of its CA: no node gets one
    /// for a host in them.
    pub own_certificates: Vec<IdentityFiles>,
    /// Further hosts of this control plane, such as its listen address.
    pub own_hosts: Vec<Host>,
    /// The URL at which nodes reach this control plane, where it is known:
    /// [`own_url`](crate::own_url).
    pub url: Option<HttpUrl>,
    /// Whether nodes may join at all. In the HOME profile they may not.
    pub takes_nodes: bool,
}

impl Default for JoinConfig {
    fn default() -> Self {
        Self {
            ca: None,
            lifetime: DEFAULT_NODE_LIFETIME,
            own_token: None,
            addresses: AddressRanges::default(),
            own_certificates: Vec::new(),
            own_hosts: Vec::new(),
            url: None,
            takes_nodes: true,
        }
    }
}

/// The joining of this process. Clones share it.
#[derive(Clone)]
pub struct JoinApi(Arc<Inner>);

pub(crate) struct Inner {
    state: Arc<Mutex<JoinState>>,
    store: Arc<dyn JoinStore>,
    policy: AuthPolicy,
    pub(crate) keys: KeyApi,
    /// Held from the check of a node's keys until it has a new one.
    pub(crate) joining: Mutex<()>,
    pub(crate) config: JoinConfig,
}

/// Why a change did not happen, or only in part.
#[derive(Debug)]
pub(crate) enum ChangeError {
    /// It is not allowed.
    Refused(JoinTokenError),
    /// The certificate is not signed.
    NotSigned(SignError),
    /// The store failed. A revoked node is refused all the same.
    NotSaved { is_revocation: bool },
    /// The work on the store panicked.
    Panicked,
}

impl From<JoinTokenError> for ChangeError {
    fn from(error: JoinTokenError) -> Self {
        Self::Refused(error)
    }
}

/// What is done with the state before a change is saved: the signature of a certificate, which the
/// use of a token must not outlive.
type Before<T> = Box<dyn FnOnce(&JoinState) -> Result<T, SignError> + Send>;

impl JoinApi {
    /// Loads what `store` keeps and publishes revocations to `policy`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load(
        store: Arc<dyn JoinStore>,
        policy: AuthPolicy,
        keys: KeyApi,
        config: JoinConfig,
    ) -> Result<Self, StoreError> {
        let (tokens, revoked) = store.load_joins()?;
        let state = JoinState::restore(tokens, revoked);
        policy.replace_revoked_certificates(state.revocations());
        Ok(Self(Arc::new(Inner {
            state: Arc::new(Mutex::new(state)),
            store,
            policy,
            keys,
            joining: Mutex::default(),
            config,
        })))
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// All tokens, by id.
    pub(crate) async fn tokens(&self) -> Vec<Arc<JoinToken>> {
        self.0.state.lock().await.tokens().cloned().collect()
    }

    /// Whether this token lets `node` join now. It changes nothing.
    pub(crate) async fn check(
        &self,
        digest: TokenDigest,
        node: &NodeId,
    ) -> Result<(), ChangeError> {
        let state = self.0.state.lock().await;
        let checked = state.check(digest, node, &[], SystemTime::now());
        let is_bound = checked.map_err(JoinTokenError::Join)?.node.is_some();
        drop(state);
        if !is_bound && self.0.keys.has_node_key(node).await {
            return Err(JoinTokenError::Join(JoinError::HasCredentials(node.clone())).into());
        }
        Ok(())
    }

    /// Whether the holder of a certificate is known to the policy and not revoked.
    pub(crate) fn is_valid(&self, holder: &Arc<CertificateHolder>) -> bool {
        self.0.policy.holder(holder).is_ok()
    }

    /// Makes a change; returns what changed.
    pub(crate) async fn change(&self, event: Event) -> Result<Option<Arc<JoinToken>>, ChangeError> {
        let nothing: Before<()> = Box::new(|_| Ok(()));
        self.change_after(event, nothing)
            .await
            .map(|(token, ())| token)
    }

    /// Checks a change, does what comes `before` it, and makes it.
    ///
    /// The work is a blocking task: it goes on to its end when the client leaves.
    pub(crate) async fn change_after<T: Send + 'static>(
        &self,
        event: Event,
        before: Before<T>,
    ) -> Result<(Option<Arc<JoinToken>>, T), ChangeError> {
        let state = Arc::clone(&self.0.state).lock_owned().await;
        let (store, policy) = (Arc::clone(&self.0.store), self.0.policy.clone());
        let work = move || change(state, &*store, &policy, event, before);
        let work = tokio::task::spawn_blocking(work);
        work.await.unwrap_or(Err(ChangeError::Panicked))
    }
}

fn change<T>(
    mut state: OwnedMutexGuard<JoinState>,
    store: &dyn JoinStore,
    policy: &AuthPolicy,
    event: Event,
    before: Before<T>,
) -> Result<(Option<Arc<JoinToken>>, T), ChangeError> {
    let is_revocation = matches!(event, Event::Revoke { .. } | Event::RevokeNode { .. });
    let is_renewal = matches!(event, Event::Renew { .. });
    let mut changed = state.clone();
    let effects = changed
        .apply(event, SystemTime::now())
        .map_err(ChangeError::Refused)?;
    let done = before(&state).map_err(ChangeError::NotSigned)?;
    let token = effects.iter().find_map(|effect| match effect {
        Effect::SaveToken(token) => Some(Arc::clone(token)),
        _ => None,
    });
    // A revocation holds although it cannot be saved. A node with a certificate is not cut off by a
    // full disk either: what it has replaces what is saved. All else does not hold.
    if is_revocation || is_renewal {
        publish(&mut state, changed, policy);
        let saved = save(store, &effects, is_revocation);
        if is_revocation {
            saved?;
        }
    } else {
        save(store, &effects, is_revocation)?;
        publish(&mut state, changed, policy);
    }
    Ok((token, done))
}

fn save(store: &dyn JoinStore, effects: &[Effect], is_revocation: bool) -> Result<(), ChangeError> {
    store.apply_joins(effects).map_err(|error| {
        let error: &(dyn std::error::Error + 'static) = &error;
        tracing::warn!(error, "a change of join tokens or nodes could not be saved");
        ChangeError::NotSaved { is_revocation }
    })
}

fn publish(state: &mut JoinState, changed: JoinState, policy: &AuthPolicy) {
    policy.replace_revoked_certificates(changed.revocations());
    *state = changed;
}

impl fmt::Debug for JoinApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinApi")
            .field("store", &self.0.store)
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}
