//! Bearer tokens: redacted secrets, constant-time verification and the loopback rule.
//!
//! [`AuthPolicy`] decides for every listener whether a peer with these headers may be served. The
//! token's clear text exists only inside [`ApiToken`], and leaves it only as a header to be sent.
//!
//! ```
//! use bearer_auth::{ApiToken, AuthPolicy};
//! use http::{HeaderMap, header::AUTHORIZATION};
//!
//! let token = ApiToken::new("correct horse battery".replace(' ', "-"))?;
//! let mut headers = HeaderMap::new();
//! headers.insert(AUTHORIZATION, token.header_value());
//!
//! let policy = AuthPolicy::new(Some(token), false)?;
//! let peer = [192, 168, 1, 7].into();
//! assert!(policy.authorize(peer, &headers).is_ok());
//! assert!(policy.authorize(peer, &HeaderMap::new()).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod policy;
mod token;

pub use policy::{AuthError, AuthPolicy, PolicyError, TOKEN_HEADERS};
pub use token::{ApiToken, MAX_TOKEN_BYTES, MIN_TOKEN_BYTES, TokenError};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
