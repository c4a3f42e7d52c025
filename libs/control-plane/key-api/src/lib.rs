//! The keys of a control plane's clients over HTTP: `/v2/keys`.
//!
//! [`KeyApi`] keeps the pure core of `access-keys` behind a lock, stores its effects, and publishes
//! its credentials to the [`AuthPolicy`](bearer_auth::AuthPolicy) of the listener, so that the next
//! request is judged by them.

mod api;
mod errors;
mod node_keys;
mod routes;
#[cfg(feature = "openapi")]
mod schema;
mod view;

pub use crate::{
    api::KeyApi,
    routes::{LIMITS, MAX_PAGE_KEYS},
    view::{
        CreatedKeyAnswer, KeyAnswer, KeyChangeRequest, KeysAnswer, NewKeyRequest, RotateRequest,
    },
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
