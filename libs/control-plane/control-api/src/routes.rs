//! The routes, and what their handlers share.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{FromRequestParts, State},
    http::request::Parts,
};
use event_log::EventLog;
use http_server::{ApiError, Routes};
use pool_registry_types::{GpuStatus, NodeId};
use registry_runtime::RegistryHandle;
use routing_table::{EndpointKey, RoutingTable};
use tokio::{sync::watch, time::Instant};

use crate::{
    discovery,
    errors::cloud_profile_disabled,
    events, nodes, operators,
    status::{self, DataPathLookup, DataPathView},
    view::{CatalogAnswer, GpusAnswer, Lookups, PoolsAnswer, QuarantineView},
};

/// What the routes work on.
#[derive(Clone)]
pub struct ControlApi {
    pub(crate) registry: Option<RegistryHandle>,
    pub(crate) table: watch::Receiver<Arc<RoutingTable>>,
    pub(crate) lookups: Lookups,
    /// This machine's, where there is no registry that knows of any.
    gpus: Option<(NodeId, watch::Receiver<Arc<[GpuStatus]>>)>,
    pub(crate) data_path: Arc<DataPathLookup>,
    pub(crate) events: EventLog,
    pub(crate) version: &'static str,
    pub(crate) started: Instant,
    pub(crate) metrics_addr: Option<SocketAddr>,
}

impl ControlApi {
    /// The API over `registry`, which is `None` in the HOME profile, and over the table that the data path uses.
    #[must_use]
    pub fn new(registry: Option<RegistryHandle>, table: watch::Receiver<Arc<RoutingTable>>) -> Self {
        Self {
            registry,
            table,
            lookups: Lookups::default(),
            gpus: None,
            data_path: Arc::new(DataPathView::default),
            events: EventLog::new(),
            version: env!("CARGO_PKG_VERSION"),
            started: Instant::now(),
            metrics_addr: None,
        }
    }

    /// Shows what the data path holds against endpoints. `lookup` is called once per pool and answer.
    #[must_use]
    pub fn with_quarantine(
        mut self,
        lookup: impl Fn(&EndpointKey) -> Option<QuarantineView> + Send + Sync + 'static,
    ) -> Self {
        self.lookups.quarantine = Arc::new(lookup);
        self
    }

    /// Shows how many requests run at endpoints. `lookup` is called once per pool and answer.
    #[must_use]
    pub fn with_requests_running(
        mut self,
        lookup: impl Fn(&EndpointKey) -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        self.lookups.running = Arc::new(lookup);
        self
    }

    /// Shows the GPUs of this machine, which is `node_id`. For the HOME profile; in CLOUD nodes report theirs.
    #[must_use]
    pub fn with_gpus(mut self, node_id: NodeId, gpus: watch::Receiver<Arc<[GpuStatus]>>) -> Self {
        self.gpus = Some((node_id, gpus));
        self
    }

    /// Shows what the data path tells of itself. `lookup` is called once per `GET /v2/status`.
    #[must_use]
    pub fn with_data_path(mut self, lookup: impl Fn() -> DataPathView + Send + Sync + 'static) -> Self {
        self.data_path = Arc::new(lookup);
        self
    }

    /// Shows what happened, as `events` tells it.
    #[must_use]
    pub fn with_events(mut self, events: EventLog) -> Self {
        self.events = events;
        self
    }

    /// Tells Prometheus of the address at which this process serves its metrics without a token, where that is not `None`.
    #[must_use]
    pub fn with_metrics_at(mut self, bound: Option<SocketAddr>) -> Self {
        self.metrics_addr = bound;
        self
    }

    /// Says which version of the control plane this is.
    #[must_use]
    pub fn with_version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// The endpoints, as `GET /v2/pools` tells them.
    #[must_use]
    pub fn pools(&self) -> PoolsAnswer {
        let table = self.table.borrow().clone();
        PoolsAnswer::new(&table, &self.lookups)
    }

    /// The body of `GET /v2/gpus`.
    #[must_use]
    pub fn gpus(&self) -> GpusAnswer {
        let mut answer = self
            .registry
            .as_ref()
            .map_or_else(GpusAnswer::default, |registry| {
                GpusAnswer::of_all(&registry.nodes().borrow())
            });
        if let Some((node_id, gpus)) = &self.gpus {
            answer.add(node_id, &gpus.borrow());
        }
        answer
    }

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
            .post("/v2/pools/{node_id}/{pool_id}/undrain", operators::undrain_pool)
            .get("/v2/gpus", gpus)
            .get("/v2/pools", pools)
            .get("/v2/catalog/availability", catalog)
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

impl std::fmt::Debug for ControlApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlApi")
            .field("cloud", &self.registry.is_some())
            .finish_non_exhaustive()
    }
}

/// The registry. Handlers name it first, so that in the HOME profile nothing else of the request matters.
pub(crate) struct Registry(pub(crate) RegistryHandle);

impl FromRequestParts<ControlApi> for Registry {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, api: &ControlApi) -> Result<Self, ApiError> {
        api.registry.clone().map(Self).ok_or_else(cloud_profile_disabled)
    }
}

/// The GPUs of all nodes.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/gpus", tag = "capacity",
    responses((status = 200, description = "By node, then by index.", body = GpusAnswer))
))]
async fn gpus(State(api): State<ControlApi>) -> Json<GpusAnswer> {
    Json(api.gpus())
}

/// Every endpoint that requests may go to.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/pools", tag = "capacity",
    responses((status = 200, description = "By node, pool and replica.", body = PoolsAnswer))
))]
async fn pools(State(api): State<ControlApi>) -> Json<PoolsAnswer> {
    Json(api.pools())
}

/// Every model and who serves it.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/catalog/availability", tag = "capacity",
    responses((status = 200, description = "By name.", body = CatalogAnswer))
))]
async fn catalog(State(api): State<ControlApi>) -> Json<CatalogAnswer> {
    let table = api.table.borrow().clone();
    Json(CatalogAnswer::new(&table))
}
