//! The table of routes.

use axum::Router;
use http_server::{Access, Routes, Scope};

use crate::{api::ControlApi, capacity, discovery, events, forwarded, nodes, operators, status};

/// A node removes itself, and an operator any node.
const FORGET: Access = Access::NODE.or(Scope::Operator);

/// A node sees itself, before it registers.
const OWN_NODE: Access = Access::OBSERVER.or(Scope::Node);

/// The models, for those who use them and for those who watch them.
const CATALOG: Access = Access::CLIENT.or(Scope::Observer);

impl ControlApi {
    /// The routes.
    #[must_use]
    pub fn routes(self) -> Routes {
        Routes::new()
            .post("/v2/nodes/register", Access::NODE, nodes::register)
            .post(
                "/v2/nodes/{node_id}/heartbeat",
                Access::NODE,
                nodes::heartbeat,
            )
            .get("/v2/nodes", Access::OBSERVER, operators::nodes)
            .get("/v2/nodes/{node_id}", OWN_NODE, operators::node)
            .delete("/v2/nodes/{node_id}", FORGET, nodes::deregister)
            .post(
                "/v2/nodes/{node_id}/drain",
                Access::OPERATOR,
                operators::drain_node,
            )
            .post(
                "/v2/nodes/{node_id}/undrain",
                Access::OPERATOR,
                operators::undrain_node,
            )
            .post(
                "/v2/pools/{node_id}/{pool_id}/drain",
                Access::OPERATOR,
                operators::drain_pool,
            )
            .post(
                "/v2/pools/{node_id}/{pool_id}/undrain",
                Access::OPERATOR,
                operators::undrain_pool,
            )
            .post(
                "/v2/pools/{node_id}/{pool_id}/restart",
                Access::OPERATOR,
                forwarded::restart,
            )
            .post(
                "/v2/pools/{node_id}/{pool_id}/reload",
                Access::OPERATOR,
                forwarded::reload,
            )
            .post(
                "/v2/pools/{node_id}/{pool_id}/replicas/{replica_id}/drain",
                Access::OPERATOR,
                forwarded::drain_replica,
            )
            .post(
                "/v2/pools/{node_id}/{pool_id}/replicas/{replica_id}/undrain",
                Access::OPERATOR,
                forwarded::undrain_replica,
            )
            .get("/v2/gpus", Access::OBSERVER, capacity::gpus)
            .get("/v2/pools", Access::OBSERVER, capacity::pools)
            .get("/v2/catalog/availability", CATALOG, capacity::catalog)
            .get("/v2/status", Access::OBSERVER, status::status)
            .get("/v2/events", Access::OBSERVER, events::events)
            .get("/v2/sd/prometheus", Access::OBSERVER, discovery::prometheus)
            .with_state(self)
    }

    /// The routes as a router without fallbacks.
    pub fn router(self) -> Router {
        self.routes().into_router()
    }
}
