//! Which requests are allowed.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use pool_registry_types::NodeId;

use crate::{
    access_token,
    auth_error::AuthError,
    certificate::CertificateHolder,
    credentials::{Credential, KeySource, Keys},
    identity::Identity,
    principal::Principal,
    session::{self, SessionError, SessionSecret, Sessions},
    token::{ApiToken, MAX_TOKEN_BYTES, TokenDigest},
};

/// The authentication scheme, compared without regard to case (RFC 9110, section 11.1).
const SCHEME: &[u8] = b"bearer";

/// The headers that hold nothing but a token: Anthropic's clients send the first one, Azure's the
/// second.
pub const TOKEN_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
];

/// A policy that contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A token is required, but none is set.
    #[error("authentication is required of everyone, but no token is set")]
    RequiredWithoutToken,
}

/// Decides about each request of a listener. Clones share the keys.
#[derive(Debug, Clone, Default)]
pub struct AuthPolicy {
    api_token: Option<TokenDigest>,
    /// Whether loopback peers present a credential too, even while there is none.
    is_required: bool,
    keys: Arc<Keys>,
    revoked_certificates: Arc<ArcSwap<HashMap<NodeId, SystemTime>>>,
    sessions: Arc<Sessions>,
}

impl AuthPolicy {
    /// With a token, every client must present it or the token of a key, loopback peers too.
    /// Without one, only loopback peers are served, until there is a key; `require` refuses that.
    ///
    /// # Errors
    /// When a token is required and none is given.
    pub fn new(token: Option<ApiToken>, require: bool) -> Result<Self, PolicyError> {
        if require && token.is_none() {
            return Err(PolicyError::RequiredWithoutToken);
        }
        Ok(Self {
            api_token: token.map(|token| token.digest()),
            is_required: require,
            ..Self::default()
        })
    }

    /// The same for a server whose keys are in a file: every peer must present a token at any time,
    /// so that an empty file opens nothing.
    #[must_use]
    pub fn with_keys_only(token: Option<ApiToken>) -> Self {
        Self {
            api_token: token.map(|token| token.digest()),
            is_required: true,
            ..Self::default()
        }
    }

    /// Replaces all keys that come from `source`, for all clones. The next request is judged by
    /// them, on open connections too; running requests finish.
    pub fn replace_keys(&self, source: KeySource, credentials: Vec<Credential>) {
        self.keys.replace(source, credentials);
    }

    /// Who `peer` with these request headers is, if it may be served at all.
    ///
    /// It takes no lock and allocates nothing. An absent, malformed or wrong token takes the same
    /// path through the comparison with the API token as the right one. Tokens of keys are found by
    /// their digest.
    ///
    /// # Errors
    /// When it may not be served; respond with 401.
    pub fn authorize(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Principal, AuthError> {
        let keys = self.keys.load();
        if self.serves_loopback_peers(keys.is_empty()) {
            return if peer.to_canonical().is_loopback() {
                Ok(Principal::Loopback)
            } else {
                Err(AuthError::NotLoopback)
            };
        }
        let presented = presented(headers);
        let digest = TokenDigest::of(presented.unwrap_or_default());
        let is_api_token = self
            .api_token
            .is_some_and(|expected| expected.matches(&digest));
        let token = presented?;
        if is_api_token {
            return Ok(Principal::ApiToken);
        }
        // A mistyped token is reported as such, and never looked up.
        if access_token::check(token) == Some(false) {
            return Err(AuthError::Mistyped);
        }
        keys.find(&digest, now)
    }

    /// Whether the key of a request that has waited is still valid. Its token is not asked for
    /// again, so a rotation ends nothing.
    ///
    /// # Errors
    /// When the key was revoked or removed, or has expired; respond with 401.
    pub fn holds(&self, key: &Identity, now: SystemTime) -> Result<(), AuthError> {
        self.keys.load().holds(key, now)
    }

    /// Replaces all revocations of certificates, for all clones: the certificates of these nodes
    /// that are valid from this time or an earlier one are refused.
    pub fn replace_revoked_certificates(&self, revoked: HashMap<NodeId, SystemTime>) {
        self.revoked_certificates.store(Arc::new(revoked));
    }

    /// The holder of a certificate that the handshake has verified.
    ///
    /// It is asked before [`authorize`](Self::authorize): who presents such a certificate needs no
    /// token, and a token beside it is not looked at.
    ///
    /// # Errors
    /// When it was revoked; respond with 401.
    pub fn holder(&self, certificate: &Arc<CertificateHolder>) -> Result<Principal, AuthError> {
        if let Some(node) = certificate.node() {
            let revoked = self.revoked_certificates.load();
            let until = revoked.get(node);
            if until.is_some_and(|until| certificate.not_before <= *until) {
                return Err(AuthError::RevokedCertificate);
            }
        }
        Ok(Principal::Certificate(Arc::clone(certificate)))
    }

    /// Opens a session for the token that these headers present. Its secret is the value of the
    /// cookie [`SESSION_COOKIE`](crate::SESSION_COOKIE).
    ///
    /// # Errors
    /// When no valid token is presented, or the system gives no random numbers.
    pub fn open_session(
        &self,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<SessionSecret, SessionError> {
        let digest = TokenDigest::of(presented(headers)?);
        self.judge(&digest, now)?;
        Ok(self.sessions.open(digest, now)?)
    }

    /// Whose session the cookie in these headers is; `None` without such a cookie. The holder is
    /// judged anew each time.
    #[must_use]
    pub fn session(
        &self,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Option<Result<Principal, AuthError>> {
        let secret = session::presented(headers)?;
        let credential = self.sessions.find(secret, now);
        Some(credential.and_then(|credential| self.judge(&credential, now)))
    }

    /// Ends the session of the cookie in these headers, if there is one.
    pub fn close_session(&self, headers: &HeaderMap) {
        if let Some(secret) = session::presented(headers) {
            self.sessions.close(secret);
        }
    }

    fn judge(&self, digest: &TokenDigest, now: SystemTime) -> Result<Principal, AuthError> {
        if self
            .api_token
            .is_some_and(|expected| expected.matches(digest))
        {
            return Ok(Principal::ApiToken);
        }
        self.keys.load().find(digest, now)
    }

    /// Whether an API token is set.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.api_token.is_some()
    }

    /// Which clients are served, for the log at start-up.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        if self.has_token() {
            "every peer must present the API token, or the token of a key"
        } else if self.serves_loopback_peers(self.keys.load().is_empty()) {
            "no API token is set: only loopback peers are served, all others get 401"
        } else {
            "no API token is set: every peer must present the token of a key"
        }
    }

    fn serves_loopback_peers(&self, has_no_keys: bool) -> bool {
        self.api_token.is_none() && !self.is_required && has_no_keys
    }
}

/// The token that a client presents. The length of a token is not secret, so an absurdly long one
/// is refused without hashing.
fn presented(headers: &HeaderMap) -> Result<&[u8], AuthError> {
    let mut found = match only(headers, &AUTHORIZATION)? {
        Some(value) => Some(bearer(value).ok_or(AuthError::NotBearer)?),
        None => None,
    };
    for name in &TOKEN_HEADERS {
        // Clients without a token send an empty header.
        let Some(value) = only(headers, name)?.filter(|value| !value.is_empty()) else {
            continue;
        };
        let token = bare(value).ok_or(AuthError::NotAToken)?;
        match found {
            None => found = Some(token),
            Some(other) if TokenDigest::of(other).matches(&TokenDigest::of(token)) => {}
            Some(_) => return Err(AuthError::Conflicting),
        }
    }
    found.ok_or(AuthError::Missing)
}

/// The value of a header. With two values, two parties may disagree about the client.
fn only<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h HeaderValue>, AuthError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(AuthError::Conflicting),
    }
}

fn bare(value: &HeaderValue) -> Option<&[u8]> {
    let token = value.as_bytes().trim_ascii();
    (1..=MAX_TOKEN_BYTES)
        .contains(&token.len())
        .then_some(token)
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = value.as_bytes().split_at_checked(SCHEME.len())?;
    let token = rest.trim_ascii();
    let well_formed = scheme.eq_ignore_ascii_case(SCHEME)
        && rest.first() == Some(&b' ')
        && (1..=MAX_TOKEN_BYTES).contains(&token.len());
    well_formed.then_some(token)
}

#[cfg(test)]
mod tests;
