//! The routes, and what their handlers share.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{FromRequestParts, RawQuery, State},
    http::request::Parts,
};
use event_log::EventLog;
use http_server::{ApiError, Routes};
use registry_runtime::RegistryHandle;
use routing_table::EndpointKey;
use tokio::time::Instant;

use crate::{
    CatalogAnswer, GpusAnswer, NodeControl, NodesQuery, PoolsAnswer, QuarantineView, discovery,
    errors::cloud_profile_disabled,
    events, forwarded,
    node_control::{SharedNodeControl, Unconnected},
    nodes, operators,
    status::{self, DataPathLookup, DataPathView},
    view::{Catalog, Lookups},
};

/// What the routes work on.
#[derive(Clone)]
pub struct ControlApi {
    pub(crate) registry: RegistryHandle,
    /// Nodes may join over HTTP.
    pub(crate) takes_registrations: bool,
    pub(crate) node_control: SharedNodeControl,
    pub(crate) lookups: Lookups,
    pub(crate) data_path: Arc<DataPathLookup>,
    pub(crate) events: EventLog,
    pub(crate) version: &'static str,
    pub(crate) started: Instant,
    pub(crate) metrics_addr: Option<SocketAddr>,
}

impl ControlApi {
    /// The API over `registry`, in the CLOUD profile.
    #[must_use]
    pub fn new(registry: RegistryHandle) -> Self {
        Self {
            registry,
            takes_registrations: true,
            node_control: Arc::new(Unconnected),
            lookups: Lookups::default(),
            data_path: Arc::new(DataPathView::default),
            events: EventLog::new(),
            version: env!("CARGO_PKG_VERSION"),
            started: Instant::now(),
            metrics_addr: None,
        }
    }

    /// For the HOME profile: nodes do not join over HTTP. Registrations, heartbeats and
    /// deregistrations are answered 503 `CLOUD_PROFILE_DISABLED`; everything else is the same.
    #[must_use]
    pub fn refusing_registrations(mut self) -> Self {
        self.takes_registrations = false;
        self
    }

    /// Passes what only a node can do on to it: drains of replicas, restarts, reloads.
    #[must_use]
    pub fn with_node_control(mut self, node_control: Arc<dyn NodeControl>) -> Self {
        self.node_control = node_control;
        self
    }

    /// Shows which endpoints the data path keeps requests from. `lookup` is called once per
    /// endpoint and answer.
    #[must_use]
    pub fn with_quarantine(
        mut self,
        lookup: impl Fn(&EndpointKey) -> Option<QuarantineView> + Send + Sync + 'static,
    ) -> Self {
        self.lookups.quarantine = Arc::new(lookup);
        self
    }

    /// Shows how many requests run at endpoints. `lookup` is called once per endpoint and answer.
    #[must_use]
    pub fn with_requests_running(
        mut self,
        lookup: impl Fn(&EndpointKey) -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        self.lookups.running = Arc::new(lookup);
        self
    }

    /// Shows what the data path tells of itself. `lookup` is called once per `GET /v2/status`.
    #[must_use]
    pub fn with_data_path(
        mut self,
        lookup: impl Fn() -> DataPathView + Send + Sync + 'static,
    ) -> Self {
        self.data_path = Arc::new(lookup);
        self
    }

    /// Shows what happened, as `events` tells it.
    #[must_use]
    pub fn with_events(mut self, events: EventLog) -> Self {
        self.events = events;
        self
    }

    /// Tells Prometheus of the address at which this process serves its metrics without a token,
    /// where that is not `None`.
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
            .field("takes_registrations", &self.takes_registrations)
            .finish_non_exhaustive()
    }
}

/// That nodes may join over HTTP. Handlers name it first, so that in the HOME profile nothing else
/// of the request matters.
pub(crate) struct Registrations;

impl FromRequestParts<ControlApi> for Registrations {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, api: &ControlApi) -> Result<Self, ApiError> {
        if api.takes_registrations {
            Ok(Self)
        } else {
            Err(cloud_profile_disabled())
        }
    }
}

/// The GPUs of nodes.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/gpus", tag = "capacity",
    params(
        ("limit" = Option<u32>, Query, description = "Those of so many nodes at most.", minimum = 1, maximum = 1000),
        ("after" = Option<pool_registry_types::NodeId>, Query, description = "Only those of nodes behind this one, as `next_after` names it."),
    ),
    responses((status = 200, description = "By node, then by index.", body = GpusAnswer))
))]
async fn gpus(
    State(api): State<ControlApi>,
    RawQuery(query): RawQuery,
) -> Result<Json<GpusAnswer>, ApiError> {
    let query = NodesQuery::parse_page(query.as_deref().unwrap_or_default())?;
    Ok(Json(GpusAnswer::of(&api.page(&query))))
}

/// The endpoints that requests may go to: replicas, or pools whose replicas are not told apart.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/pools", tag = "capacity",
    params(
        ("limit" = Option<u32>, Query, description = "Those of so many nodes at most.", minimum = 1, maximum = 1000),
        ("after" = Option<pool_registry_types::NodeId>, Query, description = "Only those of nodes behind this one, as `next_after` names it."),
    ),
    responses((status = 200, description = "By node, pool and replica.", body = PoolsAnswer))
))]
async fn pools(
    State(api): State<ControlApi>,
    RawQuery(query): RawQuery,
) -> Result<Json<PoolsAnswer>, ApiError> {
    let query = NodesQuery::parse_page(query.as_deref().unwrap_or_default())?;
    Ok(Json(PoolsAnswer::of(&api.page(&query), &api.lookups)))
}

/// Every model and who serves it.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/catalog/availability", tag = "capacity",
    responses((status = 200, description = "By name.", body = CatalogAnswer))
))]
async fn catalog(State(api): State<ControlApi>) -> Json<CatalogAnswer> {
    let mut catalog = Catalog::default();
    api.each_node(|node| catalog.add(node)).await;
    Json(catalog.into_answer())
}
