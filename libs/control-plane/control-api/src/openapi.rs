//! The OpenAPI document of these routes.

use utoipa::OpenApi as _;

use crate::{capacity, discovery, events, forwarded, nodes, operators, status};

/// The OpenAPI document of all [`ControlApi::routes`](crate::ControlApi::routes).
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Control::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(
    nodes::register,
    nodes::heartbeat,
    operators::nodes,
    operators::node,
    nodes::deregister,
    operators::drain_node,
    operators::undrain_node,
    operators::drain_pool,
    operators::undrain_pool,
    forwarded::restart,
    forwarded::reload,
    forwarded::drain_replica,
    forwarded::undrain_replica,
    capacity::gpus,
    capacity::pools,
    capacity::catalog,
    status::status,
    events::events,
    discovery::prometheus,
))]
struct Control;
