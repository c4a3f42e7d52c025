//! The table of routes.

use axum::Router;
use http_server::Routes;

use crate::{api::ControlApi, capacity, discovery, events, forwarded, nodes, operators, status};

impl ControlApi {
    /// The routes.
    #[must_use]
    pub fn routes(self) -> Routes {
        Routes::new()
            .post("/v2/nodes/register", nodes::register)
            .post("/v2/nodes/{node_id}/heartbeat", nodes::heartbeat)
            .get("/v2/nodes", operators::nodes)
            .get("/v2/nodes/{node_id}", operators::node)
            .delete("/v2/nodes/{node_id}", nodes::deregister)
            .post("/v2/nodes/{node_id}/drain", operators::drain_node)
            .post("/v2/nodes/{node_id}/undrain", operators::undrain_node)
            .post("/v2/pools/{node_id}/{pool_id}/drain", operators::drain_pool)
            .post(
                "/v2/pools/{node_id}/{pool_id}/undrain",
                operators::undrain_pool,
            )
            .post("/v2/pools/{node_id}/{pool_id}/restart", forwarded::restart)
            .post("/v2/pools/{node_id}/{pool_id}/reload", forwarded::reload)
            .post(
                "/v2/pools/{node_id}/{pool_id}/replicas/{replica_id}/drain",
                forwarded::drain_replica,
            )
            .post(
                "/v2/pools/{node_id}/{pool_id}/replicas/{replica_id}/undrain",
                forwarded::undrain_replica,
            )
            .get("/v2/gpus", capacity::gpus)
            .get("/v2/pools", capacity::pools)
            .get("/v2/catalog/availability", capacity::catalog)
            .get("/v2/status", status::status)
            .get("/v2/events", events::events)
            .get("/v2/sd/prometheus", discovery::prometheus)
            .with_state(self)
    }

    /// The routes as a router without fallbacks.
    pub fn router(self) -> Router {
        self.routes().into_router()
    }
}
