//! Joining a control plane over HTTP: `/v2/join`, `/v2/join-tokens`, and certificates of nodes.
//!
//! [`JoinApi`] keeps the pure core of `join-tokens` behind a lock, stores its effects, and
//! publishes revocations to the [`AuthPolicy`](bearer_auth::AuthPolicy) of the listener, so that
//! the next request is judged by them.

mod api;
mod errors;
mod join;
mod own_url;
mod reach;
mod routes;
mod view;

pub use crate::{
    api::{JoinApi, JoinConfig},
    own_url::own_url,
    routes::{JOIN_PATH, LIMITS, MAX_JOIN_BODY_BYTES},
    view::{CreatedJoinTokenAnswer, JoinTokenAnswer, JoinTokensAnswer, NewJoinTokenRequest},
};

/// The OpenAPI document of the routes.
#[cfg(feature = "openapi")]
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes::openapi()
}

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
