//! How these routes describe themselves.

use utoipa::OpenApi as _;

use crate::{discovery, events, forwarded, nodes, operators, routes, status};

/// The descriptions of all [`ControlApi::routes`](crate::ControlApi::routes).
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
    routes::gpus,
    routes::pools,
    routes::catalog,
    status::status,
    events::events,
    discovery::prometheus,
))]
struct Control;
