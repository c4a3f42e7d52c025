//! Who sends a request and what it may do: tokens, scopes, and the loopback rule.
//!
//! [`AuthPolicy`] decides for every listener who a peer with these headers is ([`Principal`]).
//! [`Principal::may`] decides whether it may use a route ([`Access`]). There are two kinds of
//! tokens: the one [`ApiToken`] of the environment, which may do everything, and the
//! [`AccessToken`] of each key, which may do what the [`Scope`]s of its key include.
//!
//! The clear text of a token exists only inside these two types. It leaves an API token as a header
//! to be sent, and an access token once, when it is made.
//!
//! ```
//! use std::time::SystemTime;
//!
//! use bearer_auth::{ApiToken, AuthPolicy};
//! use http::{HeaderMap, header::AUTHORIZATION};
//!
//! let token = ApiToken::new("correct horse battery".replace(' ', "-"))?;
//! let mut headers = HeaderMap::new();
//! headers.insert(AUTHORIZATION, token.header_value());
//!
//! let policy = AuthPolicy::new(Some(token), false)?;
//! let (peer, now) = ([192, 168, 1, 7].into(), SystemTime::now());
//! assert!(policy.authorize(peer, &headers, now).is_ok());
//! assert!(policy.authorize(peer, &HeaderMap::new(), now).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access_token;
mod auth_error;
mod certificate;
mod credentials;
mod identity;
mod key_limits;
mod key_limits_change;
mod policy;
mod principal;
mod scope;
mod session;
mod token;

pub use access_token::{ACCESS_TOKEN_PREFIX, AccessToken, AccessTokenError, without_tokens};
pub use auth_error::AuthError;
pub use certificate::CertificateHolder;
pub use credentials::{Credential, KeySource};
pub use identity::{Identity, MAX_KEY_NAME_CHARS, is_key_name};
pub use key_limits::{
    HighestPriority, KeyLimitError, KeyLimits, LIMITS, MAX_CONCURRENT_REQUESTS, MAX_KEY_MODELS,
    MAX_KEY_WEIGHT, MAX_REQUESTS_PER_MINUTE, MAX_TOKENS_PER_DAY, MAX_TOKENS_PER_MINUTE,
    UncheckedKeyLimits, UnknownHighestPriority,
};
pub use key_limits_change::{Change, KeyLimitsChange};
pub use policy::{AuthPolicy, PolicyError, TOKEN_HEADERS};
pub use principal::{AnyOf, Presented, Principal, ScopeError};
pub use scope::{Access, Scope, Scopes, UnknownScope};
pub use session::{
    MAX_SESSIONS, MAX_SESSIONS_OF_TOKEN, SESSION_COOKIE, SESSION_LIFE, SessionError, SessionSecret,
};
pub use token::{ApiToken, MAX_TOKEN_BYTES, MIN_TOKEN_BYTES, NotADigest, TokenDigest, TokenError};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
