//! The node's pools, for people and for the control plane's operators.

use axum::{Json, extract::State};
use http_server::{ApiError, ApiPath};
use pool_registry::PoolRegistry;
use pool_registry_types::{ErrorCode, PoolId, PoolStatus};
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct Pools {
    pools: Vec<PoolView>,
}

/// A pool as the heartbeat tells it, and what is left to do before it is drained.
#[derive(Debug, Serialize)]
pub(crate) struct PoolView {
    #[serde(flatten)]
    pub(crate) status: PoolStatus,
    /// Requests that its engines serve, those included whose handoff is gone.
    pub(crate) requests_running: u64,
}

impl PoolView {
    fn new(registry: &PoolRegistry, status: PoolStatus) -> Self {
        Self {
            requests_running: registry.in_flight_of(&status.pool_id),
            status,
        }
    }
}

/// One pool.
pub(crate) fn view(registry: &PoolRegistry, id: &PoolId) -> Result<PoolView, ApiError> {
    let found = registry.statuses().into_iter().find(|pool| pool.pool_id == *id);
    found
        .map(|status| PoolView::new(registry, status))
        .ok_or_else(|| ApiError::new(ErrorCode::NotFound, format!("this node has no pool {id}")))
}

pub(crate) async fn all(State(registry): State<PoolRegistry>) -> Json<Pools> {
    let statuses = registry.statuses().into_iter();
    Json(Pools {
        pools: statuses.map(|status| PoolView::new(&registry, status)).collect(),
    })
}

pub(crate) async fn one(
    State(registry): State<PoolRegistry>,
    ApiPath(id): ApiPath<PoolId>,
) -> Result<Json<PoolView>, ApiError> {
    view(&registry, &id).map(Json)
}
