//! The node's pools, for people and for the control plane's operators.

use axum::{Json, Router, extract::State, routing::get};
use http_server::{ApiError, ApiPath};
use pool_registry::PoolRegistry;
use pool_registry_types::{ErrorCode, PoolId, PoolStatus};
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Pools {
    pools: Vec<PoolStatus>,
}

/// `GET /v2/pools` and `GET /v2/pools/{id}`.
pub fn router(registry: PoolRegistry) -> Router {
    Router::new()
        .route("/v2/pools", get(pools))
        .route("/v2/pools/{pool_id}", get(pool))
        .with_state(registry)
}

async fn pools(State(registry): State<PoolRegistry>) -> Json<Pools> {
    Json(Pools {
        pools: registry.statuses(),
    })
}

async fn pool(
    State(registry): State<PoolRegistry>,
    ApiPath(id): ApiPath<PoolId>,
) -> Result<Json<PoolStatus>, ApiError> {
    let found = registry.statuses().into_iter().find(|pool| pool.pool_id == id);
    found
        .map(Json)
        .ok_or_else(|| ApiError::new(ErrorCode::NotFound, format!("this node has no pool {id}")))
}
