//! All state of a control plane that runs, as one file: `POST /v2/store/export`.

mod routes;

pub use crate::routes::routes;

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
