//! The router, what its handlers share, and the list of its routes.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{FromRequestParts, State},
    http::request::Parts,
    routing::{get, post},
};
use event_log::EventLog;
use http::Method;
use http_server::ApiError;
use pool_registry_types::{GpuStatus, NodeId};
use registry_runtime::RegistryHandle;
use routing_table::{EndpointKey, RoutingTable};
use tokio::{sync::watch, time::Instant};

use crate::{
    discovery,
    errors::cloud_profile_disabled,
    events, nodes, operators,
    status::{self, DataPathLookup, DataPathView},
    view::{CatalogAnswer, GpusAnswer, PoolsAnswer, QuarantineLookup, QuarantineView},
};

/// Every route, as in the router: for tests that must not forget one, such as "each refuses a stranger".
pub static ROUTES: &[(Method, &str)] = &[
    (Method::POST, "/v2/nodes/register"),
    (Method::POST, "/v2/nodes/{node_id}/heartbeat"),
    (Method::GET, "/v2/nodes"),
    (Method::GET, "/v2/nodes/{node_id}"),
    (Method::DELETE, "/v2/nodes/{node_id}"),
    (Method::POST, "/v2/nodes/{node_id}/drain"),
    (Method::POST, "/v2/nodes/{node_id}/undrain"),
    (Method::POST, "/v2/pools/{node_id}/{pool_id}/drain"),
    (Method::POST, "/v2/pools/{node_id}/{pool_id}/undrain"),
    (Method::GET, "/v2/gpus"),
    (Method::GET, "/v2/pools"),
    (Method::GET, "/v2/catalog/availability"),
    (Method::GET, "/v2/status"),
    (Method::GET, "/v2/events"),
    (Method::GET, "/v2/sd/prometheus"),
];

/// What the routes work on.
#[derive(Clone)]
pub struct ControlApi {
    pub(crate) registry: Option<RegistryHandle>,
    pub(crate) table: watch::Receiver<Arc<RoutingTable>>,
    pub(crate) quarantine: Arc<QuarantineLookup>,
    /// This machine's, where there is no registry that knows of any.
    gpus: Option<(NodeId, watch::Receiver<Arc<[GpuStatus]>>)>,
    pub(crate) data_path: Arc<DataPathLookup>,
    pub(crate) events: EventLog,
    pub(crate) version: &'static str,
    pub(crate) started: Instant,
}

impl ControlApi {
    /// The API over `registry`, which is `None` in the HOME profile, and over the table that the data path uses.
    #[must_use]
    pub fn new(registry: Option<RegistryHandle>, table: watch::Receiver<Arc<RoutingTable>>) -> Self {
        Self {
            registry,
            table,
            quarantine: Arc::new(|_| None),
            gpus: None,
            data_path: Arc::new(DataPathView::default),
            events: EventLog::new(),
            version: env!("CARGO_PKG_VERSION"),
            started: Instant::now(),
        }
    }

    /// Shows what the data path holds against endpoints. `lookup` is called once per pool and answer.
    #[must_use]
    pub fn with_quarantine(
        mut self,
        lookup: impl Fn(&EndpointKey) -> Option<QuarantineView> + Send + Sync + 'static,
    ) -> Self {
        self.quarantine = Arc::new(lookup);
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
        PoolsAnswer::new(&table, self.quarantine.as_ref())
    }

    /// The routes, without fallbacks, so that the router can be merged with others.
    pub fn router(self) -> Router {
        Router::new()
            .route("/v2/nodes/register", post(nodes::register))
            .route("/v2/nodes/{node_id}/heartbeat", post(nodes::heartbeat))
            .route("/v2/nodes", get(operators::nodes))
            .route(
                "/v2/nodes/{node_id}",
                get(operators::node).delete(nodes::deregister),
            )
            .route("/v2/nodes/{node_id}/drain", post(operators::drain_node))
            .route("/v2/nodes/{node_id}/undrain", post(operators::undrain_node))
            .route("/v2/pools/{node_id}/{pool_id}/drain", post(operators::drain_pool))
            .route(
                "/v2/pools/{node_id}/{pool_id}/undrain",
                post(operators::undrain_pool),
            )
            .route("/v2/gpus", get(gpus))
            .route("/v2/pools", get(pools))
            .route("/v2/catalog/availability", get(catalog))
            .route("/v2/status", get(status::status))
            .route("/v2/events", get(events::events))
            .route("/v2/sd/prometheus", get(discovery::prometheus))
            .with_state(self)
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

async fn gpus(State(api): State<ControlApi>) -> Json<GpusAnswer> {
    let mut answer = api.registry.map_or_else(GpusAnswer::default, |registry| {
        GpusAnswer::of_all(&registry.nodes().borrow())
    });
    if let Some((node_id, gpus)) = &api.gpus {
        answer.add(node_id, &gpus.borrow());
    }
    Json(answer)
}

async fn pools(State(api): State<ControlApi>) -> Json<PoolsAnswer> {
    Json(api.pools())
}

async fn catalog(State(api): State<ControlApi>) -> Json<CatalogAnswer> {
    let table = api.table.borrow().clone();
    Json(CatalogAnswer::new(&table))
}
