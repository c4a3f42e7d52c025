//! The OpenAPI description of the routes.

use utoipa::{OpenApi as _, openapi::OpenApi};

use crate::routes;

/// Describes all [`TaskApi::routes`](crate::TaskApi::routes).
#[must_use]
pub fn openapi() -> OpenApi {
    Tasks::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(routes::submit, routes::show, routes::events, routes::cancel))]
struct Tasks;
