//! What an operator can do to a pool of this node.

use std::{fmt::Debug, pin::Pin, sync::Arc, time::Duration};

use axum::{Json, extract::State};
use http_server::{ApiError, ApiJson, ApiPath, Routes};
use pool_registry::{DrainTarget, PoolRegistry};
use pool_registry_types::{DrainRequest, ErrorCode, GpuStatus, PoolId, ReplicaId};
use serde::Serialize;
use tokio::sync::watch;

use crate::{
    Drains,
    drains::DrainError,
    pools::{self, PoolView, Pools},
};

/// A change of a pool's engines that is under way.
pub type Change = Pin<Box<dyn Future<Output = Result<(), ApiError>> + Send>>;

/// Whoever starts and stops the engines of this node.
pub trait Engines: Debug + Send + Sync {
    /// Restarts the engines of a pool, one after the other. Goes on when the change is dropped.
    fn restart(&self, pool: PoolId) -> Change;

    /// Puts new engines in the place of a pool's, as its configuration says now. Goes on when the
    /// change is dropped.
    fn reload(&self, pool: PoolId) -> Change;
}

#[derive(Debug, Clone)]
struct Control {
    registry: PoolRegistry,
    drains: Arc<Drains>,
    engines: Option<Arc<dyn Engines>>,
}

/// This node's GPUs as it last looked at them.
pub type Gpus = watch::Receiver<Arc<[GpuStatus]>>;

#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
struct GpusAnswer {
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<GpuStatus>))]
    gpus: Arc<[GpuStatus]>,
}

/// All control routes: the GPUs, the pools, and what can be done to them. Without `engines`,
/// nothing can be restarted or reloaded here.
#[must_use]
pub fn routes(
    registry: PoolRegistry,
    gpus: Gpus,
    drains: Arc<Drains>,
    engines: Option<Arc<dyn Engines>>,
) -> Routes {
    let hardware = Routes::new().get("/v2/gpus", all_gpus).with_state(gpus);
    let of_pools = Routes::new()
        .get("/v2/pools", pools)
        .get("/v2/pools/{pool_id}", pool)
        .post("/v2/pools/{pool_id}/drain", drain)
        .post("/v2/pools/{pool_id}/undrain", undrain)
        .post(
            "/v2/pools/{pool_id}/replicas/{replica_id}/drain",
            drain_replica,
        )
        .post(
            "/v2/pools/{pool_id}/replicas/{replica_id}/undrain",
            undrain_replica,
        )
        .post("/v2/pools/{pool_id}/restart", restart)
        .post("/v2/pools/{pool_id}/reload", reload)
        .with_state(Control {
            registry,
            drains,
            engines,
        });
    hardware.merge(of_pools)
}

/// The GPUs as the last heartbeat told them.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/gpus", tag = "node",
    responses((status = 200, description = "In index order.", body = GpusAnswer))
))]
async fn all_gpus(State(gpus): State<Gpus>) -> Json<GpusAnswer> {
    let gpus = gpus.borrow().clone();
    Json(GpusAnswer { gpus })
}

type Answer = Result<Json<PoolView>, ApiError>;
type DrainBody = Option<ApiJson<DrainRequest>>;

/// Every pool as the heartbeat tells it, and the handoffs that were refused.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/pools", tag = "node",
    responses((status = 200, description = "By name.", body = Pools))
))]
async fn pools(State(control): State<Control>) -> Json<Pools> {
    Json(pools::views(&control.registry, &control.drains))
}

/// One pool, with the requests that still run.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/pools/{pool_id}", tag = "node", params(("pool_id" = PoolId, Path, description = "The pool.")),
    responses((status = 200, description = "As it is now.", body = PoolView), (status = 404, description = "NOT_FOUND"))
))]
async fn pool(State(control): State<Control>, ApiPath(pool): ApiPath<PoolId>) -> Answer {
    control.view(&pool)
}

/// No new requests for a pool; running ones finish.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{pool_id}/drain", tag = "node", params(("pool_id" = PoolId, Path, description = "The pool.")), request_body = Option<DrainRequest>,
    responses((status = 200, description = "As it is now.", body = PoolView), (status = 404, description = "NOT_FOUND"))
))]
async fn drain(
    State(control): State<Control>,
    ApiPath(pool): ApiPath<PoolId>,
    body: DrainBody,
) -> Answer {
    control
        .drain(&pool, &DrainTarget::Pool(pool.clone()), body)
        .await
}

/// Requests for a pool again.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{pool_id}/undrain", tag = "node", params(("pool_id" = PoolId, Path, description = "The pool.")),
    responses((status = 200, description = "As it is now.", body = PoolView), (status = 404, description = "NOT_FOUND"))
))]
async fn undrain(State(control): State<Control>, ApiPath(pool): ApiPath<PoolId>) -> Answer {
    control
        .undrain(&pool, &DrainTarget::Pool(pool.clone()))
        .await
}

/// No new requests for one engine; running ones finish.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{pool_id}/replicas/{replica_id}/drain", tag = "node", params(("pool_id" = PoolId, Path, description = "The pool."), ("replica_id" = ReplicaId, Path, description = "The engine.")), request_body = Option<DrainRequest>,
    responses((status = 200, description = "As it is now.", body = PoolView), (status = 404, description = "NOT_FOUND"))
))]
async fn drain_replica(
    State(control): State<Control>,
    ApiPath((pool, replica)): ApiPath<(PoolId, ReplicaId)>,
    body: DrainBody,
) -> Answer {
    let target = DrainTarget::Replica(pool.clone(), replica);
    control.drain(&pool, &target, body).await
}

/// Requests for one engine again.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{pool_id}/replicas/{replica_id}/undrain", tag = "node", params(("pool_id" = PoolId, Path, description = "The pool."), ("replica_id" = ReplicaId, Path, description = "The engine.")),
    responses((status = 200, description = "As it is now.", body = PoolView), (status = 404, description = "NOT_FOUND"))
))]
async fn undrain_replica(
    State(control): State<Control>,
    ApiPath((pool, replica)): ApiPath<(PoolId, ReplicaId)>,
) -> Answer {
    let target = DrainTarget::Replica(pool.clone(), replica);
    control.undrain(&pool, &target).await
}

/// A pool's engines afresh, one after the other; answered when they are.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{pool_id}/restart", tag = "node", params(("pool_id" = PoolId, Path, description = "The pool.")),
    responses((status = 200, description = "As it is now.", body = PoolView), (status = 404, description = "NOT_FOUND"),
        (status = 409, description = "ENGINES_NOT_OURS"), (status = 503, description = "POOL_UNAVAILABLE"))
))]
async fn restart(State(control): State<Control>, ApiPath(pool): ApiPath<PoolId>) -> Answer {
    control.engines(&pool)?.restart(pool.clone()).await?;
    control.view(&pool)
}

/// New engines in the place of a pool's, as its file says now; answered when they are.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{pool_id}/reload", tag = "node", params(("pool_id" = PoolId, Path, description = "The pool.")),
    responses((status = 200, description = "As it is now.", body = PoolView), (status = 404, description = "NOT_FOUND"),
        (status = 409, description = "ENGINES_NOT_OURS, RELOAD_FAILED"), (status = 503, description = "POOL_UNAVAILABLE"))
))]
async fn reload(State(control): State<Control>, ApiPath(pool): ApiPath<PoolId>) -> Answer {
    control.engines(&pool)?.reload(pool.clone()).await?;
    control.view(&pool)
}

impl Control {
    fn view(&self, pool: &PoolId) -> Answer {
        pools::view(&self.registry, &self.drains, pool).map(Json)
    }

    async fn drain(&self, pool: &PoolId, target: &DrainTarget, body: DrainBody) -> Answer {
        let deadline = body.and_then(|ApiJson(drain)| drain.deadline_ms);
        let deadline = deadline.map(Duration::from_millis);
        let done = self.drains.drain(&self.registry, target, deadline).await;
        self.answer(pool, target, true, done)
    }

    async fn undrain(&self, pool: &PoolId, target: &DrainTarget) -> Answer {
        let done = self.drains.undrain(&self.registry, target).await;
        self.answer(pool, target, false, done)
    }

    fn answer(
        &self,
        pool: &PoolId,
        target: &DrainTarget,
        draining: bool,
        done: Result<(), DrainError>,
    ) -> Answer {
        let replica_id = match target {
            DrainTarget::Replica(_, replica) => Some(replica.as_str()),
            _ => None,
        };
        match done {
            Ok(()) => {
                tracing::info!(pool_id = %pool, replica_id, draining, "Drain changed");
                // A pool that nobody announces is forgotten when nobody drains it any more.
                self.view(pool)
            }
            Err(DrainError::Unknown(error)) => {
                Err(ApiError::new(ErrorCode::NotFound, error.to_string()))
            }
            Err(error @ (DrainError::NotRemembered { .. } | DrainError::NotWrittenYet { .. })) => {
                let cause = std::error::Error::source(&error).map(tracing::field::display);
                tracing::warn!(pool_id = %pool, replica_id, %error, cause, "correct the state directory");
                Err(ApiError::new(ErrorCode::Internal, error.to_string()))
            }
        }
    }

    fn engines(&self, pool: &PoolId) -> Result<&Arc<dyn Engines>, ApiError> {
        let Json(_known) = self.view(pool)?;
        self.engines.as_ref().ok_or_else(|| {
            ApiError::new(
                ErrorCode::EnginesNotOurs,
                "this node does not start its engines, so it cannot do this; it could with a pool \
                 file (POOL_MANAGERD_POOLS_FILE, in HOME ORCHESTRATORD_POOLS_FILE)",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: &str) -> PoolId {
        PoolId::new(id).unwrap()
    }

    fn control(engines: Option<Arc<dyn Engines>>) -> Control {
        Control {
            registry: PoolRegistry::new(vec![id("p")]),
            drains: Arc::new(Drains::in_memory()),
            engines,
        }
    }

    #[derive(Debug)]
    struct Broken;

    impl Engines for Broken {
        fn restart(&self, _: PoolId) -> Change {
            Box::pin(async { Ok(()) })
        }

        fn reload(&self, _: PoolId) -> Change {
            Box::pin(async { Err(ApiError::new(ErrorCode::ReloadFailed, "no")) })
        }
    }

    // spec: PROV-16
    #[tokio::test]
    async fn a_pool_is_drained_and_put_back_to_work() {
        let control = control(None);
        let soon = ApiJson(DrainRequest::new(Some(60_000)));
        for (body, has_deadline) in [(None, false), (Some(soon), true)] {
            let Json(view) = drain(State(control.clone()), ApiPath(id("p")), body)
                .await
                .unwrap();
            assert!(view.status.draining && view.requests_running == 0);
            let progress = view.drain.unwrap();
            assert_eq!(
                progress.deadline_ms.is_some_and(|left| left > 0),
                has_deadline
            );
        }
        let Json(view) = undrain(State(control.clone()), ApiPath(id("p")))
            .await
            .unwrap();
        assert!(!view.status.draining && view.drain.is_none());
        let unknown = drain(State(control), ApiPath(id("q")), None)
            .await
            .unwrap_err();
        assert_eq!(unknown.code, ErrorCode::NotFound);
    }

    // spec: PROV-22
    #[tokio::test]
    async fn a_replica_is_drained_and_put_back_to_work() {
        let control = control(None);
        for replica in ["r0", "r1"] {
            let handoff = serde_json::json!({
                "pool_id": "p", "replica_id": replica, "engine": "x", "slots": 2,
                "url": format!("http://localhost:1{}", &replica[1..]),
            });
            control
                .registry
                .upsert(serde_json::from_value(handoff).unwrap())
                .unwrap();
        }
        let _lease = control.registry.claim(&id("p"), None).unwrap();
        let name = |replica: &str| ApiPath((id("p"), ReplicaId::new(replica).unwrap()));
        let Json(view) = drain_replica(State(control.clone()), name("r0"), None)
            .await
            .unwrap();
        let said = serde_json::to_value(&view).unwrap();
        assert_eq!(
            (&said["draining"], &said["requests_running"]),
            (&false.into(), &1.into())
        );
        let replica = &said["replicas"][0];
        assert_eq!(
            (&replica["draining"], &replica["drain"]["requests_running"]),
            (&true.into(), &1.into())
        );
        assert_eq!(
            (
                &said["replicas"][1]["drain"],
                said["replicas"].as_array().unwrap().len()
            ),
            (&().into(), 2)
        );
        let Json(view) = undrain_replica(State(control.clone()), name("r0"))
            .await
            .unwrap();
        assert!(!view.replicas[0].status.draining);
        let unknown = drain_replica(State(control), name("r9"), None)
            .await
            .unwrap_err();
        assert_eq!(unknown.code, ErrorCode::NotFound);
    }

    #[tokio::test]
    async fn engines_of_others_are_not_ours_to_restart() {
        let code = |answer: Answer| answer.unwrap_err().code;
        let without = control(None);
        assert_eq!(
            code(restart(State(without.clone()), ApiPath(id("p"))).await),
            ErrorCode::EnginesNotOurs
        );
        assert_eq!(
            code(reload(State(without), ApiPath(id("q"))).await),
            ErrorCode::NotFound
        );
        let with = control(Some(Arc::new(Broken)));
        let restarted = restart(State(with.clone()), ApiPath(id("p"))).await;
        assert!(restarted.is_ok());
        assert_eq!(
            code(reload(State(with), ApiPath(id("p"))).await),
            ErrorCode::ReloadFailed
        );
    }
}
