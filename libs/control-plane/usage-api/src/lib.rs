//! What keys have used, over HTTP: `GET /v2/usage`.

mod csv;
mod query;
mod routes;
mod view;

pub use crate::{
    query::{LIMITS, MAX_PAGE_ROWS},
    routes::routes,
    view::{UsageAnswer, UsageRowAnswer},
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
