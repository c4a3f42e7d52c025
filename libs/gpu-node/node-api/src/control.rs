//! The control routes: the node's GPUs and pools, and what operators can do to them.

use std::{fmt::Debug, pin::Pin, sync::Arc, time::Duration};

use axum::{Json, extract::State};
use http_server::{Access, ApiError, ApiJson, ApiPath, Routes};
use pool_registry::{DrainTarget, PoolRegistry};
use pool_registry_types::{DrainRequest, ErrorCode, GpuStatus, PoolId, ReplicaId};
use serde::Serialize;
use tokio::sync::watch;

use crate::{
    drains::{DrainError, Drains},
    pools::{self, PoolView, Pools},
};

/// A running change of a pool's engines.
pub type EngineChange = Pin<Box<dyn Future<Output = Result<(), ApiError>> + Send>>;

/// Starts and stops the engines of this node.
pub trait EngineControl: Debug + Send + Sync {
    /// Restarts the engines of a pool, one after the other. Continues when the change is dropped.
    fn restart(&self, pool: PoolId) -> EngineChange;

    /// Replaces the engines of a pool by its current configuration. Continues when the change is
    /// dropped.
    fn reload(&self, pool: PoolId) -> EngineChange;
}

#[derive(Debug, Clone)]
struct Control {
    registry: PoolRegistry,
    drains: Arc<Drains>,
    engines: Option<Arc<dyn EngineControl>>,
}

/// The latest state of this node's GPUs.
pub type Gpus = watch::Receiver<Arc<[GpuStatus]>>;

#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
struct GpusAnswer {
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<GpuStatus>))]
    gpus: Arc<[GpuStatus]>,
}

/// All control routes. Without `engines`, restart and reload are refused.
#[must_use]
pub fn routes(
    registry: PoolRegistry,
    gpus: Gpus,
    drains: Arc<Drains>,
    engines: Option<Arc<dyn EngineControl>>,
) -> Routes {
    let hardware = Routes::new()
        .get("/v2/gpus", Access::OBSERVER, all_gpus)
        .with_state(gpus);
    let of_pools = Routes::new()
        .get("/v2/pools", Access::OBSERVER, pools)
        .get("/v2/pools/{pool_id}", Access::OBSERVER, pool)
        .post("/v2/pools/{pool_id}/drain", Access::OPERATOR, drain)
        .post("/v2/pools/{pool_id}/undrain", Access::OPERATOR, undrain)
        .post(
            "/v2/pools/{pool_id}/replicas/{replica_id}/drain",
            Access::OPERATOR,
            drain_replica,
        )
        .post(
            "/v2/pools/{pool_id}/replicas/{replica_id}/undrain",
            Access::OPERATOR,
            undrain_replica,
        )
        .post("/v2/pools/{pool_id}/restart", Access::OPERATOR, restart)
        .post("/v2/pools/{pool_id}/reload", Access::OPERATOR, reload)
        .with_state(Control {
            registry,
            drains,
            engines,
        });
    hardware.merge(of_pools)
}

/// The GPUs of the last heartbeat.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/gpus", tag = "node",
    responses((status = 200, description = "In index order.", body = GpusAnswer))
))]
async fn all_gpus(State(gpus): State<Gpus>) -> Json<GpusAnswer> {
    let gpus = gpus.borrow().clone();
    Json(GpusAnswer { gpus })
}

type PoolResponse = Result<Json<PoolView>, ApiError>;
type DrainBody = Option<ApiJson<DrainRequest>>;

/// All pools as in a heartbeat, and the refused handoffs.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/pools", tag = "node",
    responses((status = 200, description = "By name.", body = Pools))
))]
async fn pools(State(control): State<Control>) -> Json<Pools> {
    Json(pools::views(&control.registry, &control.drains))
}

/// One pool, with its running requests.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/pools/{pool_id}", tag = "node",
    params(("pool_id" = PoolId, Path, description = "The pool.")),
    responses(
        (status = 200, description = "As it is now.", body = PoolView),
        (status = 404, description = "NOT_FOUND")
    )
))]
async fn pool(State(control): State<Control>, ApiPath(pool): ApiPath<PoolId>) -> PoolResponse {
    control.view(&pool)
}

/// Stops new requests for a pool; running ones finish.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{pool_id}/drain", tag = "node",
    params(("pool_id" = PoolId, Path, description = "The pool.")),
    request_body = Option<DrainRequest>,
    responses(
        (status = 200, description = "As it is now.", body = PoolView),
        (status = 404, description = "NOT_FOUND")
    )
))]
async fn drain(
    State(control): State<Control>,
    ApiPath(pool): ApiPath<PoolId>,
    body: DrainBody,
) -> PoolResponse {
    control
        .drain(&pool, &DrainTarget::Pool(pool.clone()), body)
        .await
}

/// Accepts requests for a pool again.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{pool_id}/undrain", tag = "node",
    params(("pool_id" = PoolId, Path, description = "The pool.")),
    responses(
        (status = 200, description = "As it is now.", body = PoolView),
        (status = 404, description = "NOT_FOUND")
    )
))]
async fn undrain(State(control): State<Control>, ApiPath(pool): ApiPath<PoolId>) -> PoolResponse {
    control
        .undrain(&pool, &DrainTarget::Pool(pool.clone()))
        .await
}

/// Stops new requests for one engine; running ones finish.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{pool_id}/replicas/{replica_id}/drain", tag = "node",
    params(
        ("pool_id" = PoolId, Path, description = "The pool."),
        ("replica_id" = ReplicaId, Path, description = "The engine.")
    ),
    request_body = Option<DrainRequest>,
    responses(
        (status = 200, description = "As it is now.", body = PoolView),
        (status = 404, description = "NOT_FOUND")
    )
))]
async fn drain_replica(
    State(control): State<Control>,
    ApiPath((pool, replica)): ApiPath<(PoolId, ReplicaId)>,
    body: DrainBody,
) -> PoolResponse {
    let target = DrainTarget::Replica(pool.clone(), replica);
    control.drain(&pool, &target, body).await
}

/// Accepts requests for one engine again.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{pool_id}/replicas/{replica_id}/undrain", tag = "node",
    params(
        ("pool_id" = PoolId, Path, description = "The pool."),
        ("replica_id" = ReplicaId, Path, description = "The engine.")
    ),
    responses(
        (status = 200, description = "As it is now.", body = PoolView),
        (status = 404, description = "NOT_FOUND")
    )
))]
async fn undrain_replica(
    State(control): State<Control>,
    ApiPath((pool, replica)): ApiPath<(PoolId, ReplicaId)>,
) -> PoolResponse {
    let target = DrainTarget::Replica(pool.clone(), replica);
    control.undrain(&pool, &target).await
}

/// Restarts a pool's engines one after the other; responds when they are ready.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{pool_id}/restart", tag = "node",
    params(("pool_id" = PoolId, Path, description = "The pool.")),
    responses(
        (status = 200, description = "As it is now.", body = PoolView),
        (status = 404, description = "NOT_FOUND"),
        (status = 409, description = "ENGINES_NOT_OURS"),
        (status = 503, description = "POOL_UNAVAILABLE")
    )
))]
async fn restart(State(control): State<Control>, ApiPath(pool): ApiPath<PoolId>) -> PoolResponse {
    control.engines(&pool)?.restart(pool.clone()).await?;
    control.view(&pool)
}

/// Replaces a pool's engines by its current pool file; responds when they are ready.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{pool_id}/reload", tag = "node",
    params(("pool_id" = PoolId, Path, description = "The pool.")),
    responses(
        (status = 200, description = "As it is now.", body = PoolView),
        (status = 404, description = "NOT_FOUND"),
        (status = 409, description = "ENGINES_NOT_OURS, RELOAD_FAILED"),
        (status = 503, description = "POOL_UNAVAILABLE")
    )
))]
async fn reload(State(control): State<Control>, ApiPath(pool): ApiPath<PoolId>) -> PoolResponse {
    control.engines(&pool)?.reload(pool.clone()).await?;
    control.view(&pool)
}

impl Control {
    fn view(&self, pool: &PoolId) -> PoolResponse {
        pools::view(&self.registry, &self.drains, pool).map(Json)
    }

    async fn drain(&self, pool: &PoolId, target: &DrainTarget, body: DrainBody) -> PoolResponse {
        let deadline = body.and_then(|ApiJson(drain)| drain.deadline_ms);
        let deadline = deadline.map(Duration::from_millis);
        let result = self.drains.drain(&self.registry, target, deadline).await;
        self.drain_response(pool, target, true, result)
    }

    async fn undrain(&self, pool: &PoolId, target: &DrainTarget) -> PoolResponse {
        let result = self.drains.undrain(&self.registry, target).await;
        self.drain_response(pool, target, false, result)
    }

    fn drain_response(
        &self,
        pool: &PoolId,
        target: &DrainTarget,
        draining: bool,
        result: Result<(), DrainError>,
    ) -> PoolResponse {
        let replica_id = match target {
            DrainTarget::Replica(_, replica) => Some(replica.as_str()),
            _ => None,
        };
        match result {
            Ok(()) => {
                tracing::info!(pool_id = %pool, replica_id, draining, "Drain changed");
                // A pool without handoffs is removed when its drain ends.
                self.view(pool)
            }
            Err(DrainError::Unknown(error)) => {
                Err(ApiError::new(ErrorCode::NotFound, error.to_string()))
            }
            Err(error @ (DrainError::NotStored { .. } | DrainError::NotStoredYet { .. })) => {
                let cause = std::error::Error::source(&error).map(tracing::field::display);
                tracing::warn!(
                    pool_id = %pool,
                    replica_id,
                    %error,
                    cause,
                    "correct the state directory"
                );
                Err(ApiError::new(ErrorCode::Internal, error.to_string()))
            }
        }
    }

    fn engines(&self, pool: &PoolId) -> Result<&Arc<dyn EngineControl>, ApiError> {
        let Json(_known) = self.view(pool)?;
        self.engines.as_ref().ok_or_else(|| {
            ApiError::new(
                ErrorCode::EnginesNotOurs,
                "this node does not start its engines, so it cannot restart or reload them; name \
                 a pool file in its settings",
            )
        })
    }
}

#[cfg(test)]
mod tests;
