//! The control plane's HTTP API: nodes, pools and the model catalog.

mod view;

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};
use registry_runtime::RegistryHandle;
use routing_table::{EndpointKey, RoutingTable};
use tokio::sync::watch;

pub use view::{
    CatalogAnswer, DrainAnswer, ModelAnswer, NodeAnswer, NodePoolAnswer, NodesAnswer, PoolAnswer,
    PoolsAnswer, QuarantineLookup, QuarantineView,
};

/// What the routes work on.
#[derive(Clone)]
pub struct ControlApi {
    registry: Option<RegistryHandle>,
    table: watch::Receiver<Arc<RoutingTable>>,
    quarantine: Arc<QuarantineLookup>,
}

impl ControlApi {
    /// The API over `registry`, which is `None` in the HOME profile, and over the table the data path uses.
    #[must_use]
    pub fn new(registry: Option<RegistryHandle>, table: watch::Receiver<Arc<RoutingTable>>) -> Self {
        Self {
            registry,
            table,
            quarantine: Arc::new(|_| None),
        }
    }

    /// Shows what the data path holds against endpoints.
    #[must_use]
    pub fn with_quarantine(
        mut self,
        lookup: impl Fn(&EndpointKey) -> Option<QuarantineView> + Send + Sync + 'static,
    ) -> Self {
        self.quarantine = Arc::new(lookup);
        self
    }

    /// The routes.
    #[must_use]
    pub fn router(self) -> Router {
        Router::new()
            .route("/v2/pools", get(pools))
            .route("/v2/catalog/availability", get(catalog))
            .with_state(self)
    }
}

async fn pools(State(api): State<ControlApi>) -> Json<PoolsAnswer> {
    Json(PoolsAnswer::new(&api.table.borrow(), api.quarantine.as_ref()))
}

async fn catalog(State(api): State<ControlApi>) -> Json<CatalogAnswer> {
    Json(CatalogAnswer::new(&api.table.borrow()))
}
