//! What operators call: look at nodes, drain and undrain.

use std::time::Duration;

use axum::{Json, extract::State};
use http_server::{ApiError, ApiJson, ApiPath};
use pool_registry_types::{Ack, DrainRequest, NodeId, PoolId};
use service_registry::{RegistryError, Target};

use crate::{ControlApi, DrainBegunAnswer, NodeAnswer, NodesAnswer, errors::refused, routes::Registry};

impl ControlApi {
    /// The nodes, as `GET /v2/nodes` tells them; `None` without a registry.
    #[must_use]
    pub fn nodes(&self) -> Option<NodesAnswer> {
        let registry = self.registry.as_ref()?;
        let snapshot = registry.nodes().borrow().clone();
        Some(NodesAnswer::new(&snapshot, registry.now(), &self.lookups))
    }
}

/// All nodes.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/nodes", tag = "nodes",
    responses((status = 200, description = "Sorted by id.", body = NodesAnswer), (status = 503, description = "CLOUD_PROFILE_DISABLED"))
))]
pub(crate) async fn nodes(_: Registry, State(api): State<ControlApi>) -> Json<NodesAnswer> {
    // With a registry, which the extractor has seen, there is an answer.
    Json(api.nodes().unwrap_or_default())
}

/// One node.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/nodes/{node_id}", tag = "nodes", params(("node_id" = NodeId, Path, description = "The node.")),
    responses((status = 200, description = "As in the list.", body = NodeAnswer),
        (status = 404, description = "UNKNOWN_NODE"), (status = 503, description = "CLOUD_PROFILE_DISABLED"))
))]
pub(crate) async fn node(
    Registry(registry): Registry,
    State(api): State<ControlApi>,
    ApiPath(node_id): ApiPath<NodeId>,
) -> Result<Json<NodeAnswer>, ApiError> {
    let snapshot = registry.nodes().borrow().clone();
    let node = snapshot
        .get(&node_id)
        .ok_or_else(|| refused(&RegistryError::UnknownNode { node_id }.into()))?;
    Ok(Json(NodeAnswer::new(node, registry.now(), &api.lookups)))
}

type DrainBody = Option<ApiJson<DrainRequest>>;

/// No new requests for a node; running ones finish.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/nodes/{node_id}/drain", tag = "drains", params(("node_id" = NodeId, Path, description = "The node.")), request_body = Option<DrainRequest>,
    responses((status = 200, description = "It drains.", body = DrainBegunAnswer), (status = 404, description = "UNKNOWN_NODE"), (status = 503, description = "CLOUD_PROFILE_DISABLED"))
))]
pub(crate) async fn drain_node(
    registry: Registry,
    State(api): State<ControlApi>,
    ApiPath(node_id): ApiPath<NodeId>,
    drain: DrainBody,
) -> Result<Json<DrainBegunAnswer>, ApiError> {
    begin_drain(registry, &api, Target::Node(node_id), drain).await
}

/// No new requests for a pool of a node; running ones finish.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{node_id}/{pool_id}/drain", tag = "drains", params(("node_id" = NodeId, Path, description = "The node."), ("pool_id" = PoolId, Path, description = "The pool.")), request_body = Option<DrainRequest>,
    responses((status = 200, description = "It drains.", body = DrainBegunAnswer), (status = 404, description = "NOT_FOUND, UNKNOWN_NODE"), (status = 503, description = "CLOUD_PROFILE_DISABLED"))
))]
pub(crate) async fn drain_pool(
    registry: Registry,
    State(api): State<ControlApi>,
    ApiPath((node_id, pool_id)): ApiPath<(NodeId, PoolId)>,
    drain: DrainBody,
) -> Result<Json<DrainBegunAnswer>, ApiError> {
    begin_drain(registry, &api, Target::Pool(node_id, pool_id), drain).await
}

/// Requests for a node again.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/nodes/{node_id}/undrain", tag = "drains", params(("node_id" = NodeId, Path, description = "The node.")),
    responses((status = 200, description = "It takes requests.", body = Ack), (status = 404, description = "UNKNOWN_NODE"), (status = 503, description = "CLOUD_PROFILE_DISABLED"))
))]
pub(crate) async fn undrain_node(
    registry: Registry,
    ApiPath(node_id): ApiPath<NodeId>,
) -> Result<Json<Ack>, ApiError> {
    end_drain(registry, Target::Node(node_id)).await
}

/// Requests for a pool of a node again.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{node_id}/{pool_id}/undrain", tag = "drains", params(("node_id" = NodeId, Path, description = "The node."), ("pool_id" = PoolId, Path, description = "The pool.")),
    responses((status = 200, description = "It takes requests.", body = Ack), (status = 404, description = "NOT_FOUND, UNKNOWN_NODE"), (status = 503, description = "CLOUD_PROFILE_DISABLED"))
))]
pub(crate) async fn undrain_pool(
    registry: Registry,
    ApiPath((node_id, pool_id)): ApiPath<(NodeId, PoolId)>,
) -> Result<Json<Ack>, ApiError> {
    end_drain(registry, Target::Pool(node_id, pool_id)).await
}

async fn begin_drain(
    Registry(registry): Registry,
    api: &ControlApi,
    target: Target,
    drain: DrainBody,
) -> Result<Json<DrainBegunAnswer>, ApiError> {
    let deadline = drain.and_then(|ApiJson(drain)| drain.deadline_ms);
    registry
        .drain(target.clone(), deadline.map(Duration::from_millis))
        .await
        .map_err(|error| refused(&error))?;
    let (node_id, pool_id) = match &target {
        Target::Node(node_id) => (node_id, None),
        Target::Pool(node_id, pool_id) => (node_id, Some(pool_id)),
    };
    let snapshot = registry.nodes().borrow().clone();
    let node = snapshot.get(node_id);
    let node = node.map(|node| NodeAnswer::new(node, registry.now(), &api.lookups));
    Ok(Json(DrainBegunAnswer {
        success: true,
        requests_running: node.and_then(|node| node.running(pool_id)),
    }))
}

async fn end_drain(Registry(registry): Registry, target: Target) -> Result<Json<Ack>, ApiError> {
    registry.undrain(target).await.map_err(|error| refused(&error))?;
    Ok(Json(Ack { success: true }))
}
