//! What an operator can do to a pool of this node.

use std::{fmt::Debug, pin::Pin, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use http_server::{ApiError, ApiPath};
use pool_registry::PoolRegistry;
use pool_registry_types::{ErrorCode, PoolId};

use crate::{
    Drains,
    drains::DrainError,
    pools::{self, PoolView},
};

/// A change of a pool's engines that is under way.
pub type Change = Pin<Box<dyn Future<Output = Result<(), ApiError>> + Send>>;

/// Whoever starts and stops the engines of this node.
pub trait Engines: Debug + Send + Sync {
    /// Restarts the engines of a pool, one after the other. Goes on when the change is dropped.
    fn restart(&self, pool: PoolId) -> Change;

    /// Puts new engines in the place of a pool's, as its configuration says now. Goes on when the change is dropped.
    fn reload(&self, pool: PoolId) -> Change;
}

#[derive(Debug, Clone)]
struct Control {
    registry: PoolRegistry,
    drains: Arc<Drains>,
    engines: Option<Arc<dyn Engines>>,
}

/// All control routes: the pools, and what can be done to them. Without `engines`, nothing can be restarted or
/// reloaded here.
pub fn router(registry: PoolRegistry, drains: Arc<Drains>, engines: Option<Arc<dyn Engines>>) -> Router {
    let reads = Router::new()
        .route("/v2/pools", get(pools::all))
        .route("/v2/pools/{pool_id}", get(pools::one))
        .with_state(registry.clone());
    let changes = Router::new()
        .route("/v2/pools/{pool_id}/drain", post(drain))
        .route("/v2/pools/{pool_id}/undrain", post(undrain))
        .route("/v2/pools/{pool_id}/restart", post(restart))
        .route("/v2/pools/{pool_id}/reload", post(reload))
        .with_state(Control {
            registry,
            drains,
            engines,
        });
    reads.merge(changes)
}

type Answer = Result<Json<PoolView>, ApiError>;

async fn drain(State(control): State<Control>, ApiPath(pool): ApiPath<PoolId>) -> Answer {
    control.set_draining(&pool, true)
}

async fn undrain(State(control): State<Control>, ApiPath(pool): ApiPath<PoolId>) -> Answer {
    control.set_draining(&pool, false)
}

async fn restart(State(control): State<Control>, ApiPath(pool): ApiPath<PoolId>) -> Answer {
    control.engines(&pool)?.restart(pool.clone()).await?;
    pools::view(&control.registry, &pool).map(Json)
}

async fn reload(State(control): State<Control>, ApiPath(pool): ApiPath<PoolId>) -> Answer {
    control.engines(&pool)?.reload(pool.clone()).await?;
    pools::view(&control.registry, &pool).map(Json)
}

impl Control {
    fn set_draining(&self, pool: &PoolId, draining: bool) -> Answer {
        match self.drains.set(&self.registry, pool, draining) {
            Ok(()) => {
                tracing::info!(pool_id = %pool, draining, "Drain of a pool changed");
                // A pool that nobody announces is forgotten when nobody drains it any more.
                pools::view(&self.registry, pool).map(Json)
            }
            Err(DrainError::UnknownPool(error)) => Err(ApiError::new(ErrorCode::NotFound, error.to_string())),
            Err(error @ DrainError::NotRemembered { .. }) => {
                tracing::warn!(pool_id = %pool, %error, "mend the state directory");
                Err(ApiError::new(ErrorCode::Internal, error.to_string()))
            }
        }
    }

    fn engines(&self, pool: &PoolId) -> Result<&Arc<dyn Engines>, ApiError> {
        pools::view(&self.registry, pool)?;
        self.engines.as_ref().ok_or_else(|| {
            ApiError::new(
                ErrorCode::EnginesNotOurs,
                "this node does not start its engines, so whoever does must; it would with POOL_MANAGERD_POOLS_FILE",
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
        for _ in 0..2 {
            let Json(view) = drain(State(control.clone()), ApiPath(id("p"))).await.unwrap();
            assert!(view.status.draining && view.requests_running == 0);
        }
        let Json(view) = undrain(State(control.clone()), ApiPath(id("p"))).await.unwrap();
        assert!(!view.status.draining);
        let unknown = drain(State(control), ApiPath(id("q"))).await.unwrap_err();
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
