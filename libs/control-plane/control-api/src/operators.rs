//! The routes for operators: nodes, drain and undrain.

use std::time::Duration;

use axum::{
    Json,
    extract::{RawQuery, State},
};
use http_server::{ApiError, ApiJson, ApiPath};
use pool_registry_types::{Ack, DrainRequest, NodeId, NodeStatus, PoolId};
use service_registry::{NodeFilter, RegistryError, Target};

use crate::{
    api::ControlApi,
    errors::{not_durable, refused},
    query::NodesQuery,
    view::{DrainBegunAnswer, NodeAnswer, NodesAnswer, RefusedNodeAnswer},
};

/// The order of nodes in a view for operators: nodes with problems come first.
const WORST_FIRST: [NodeStatus; 4] = [
    NodeStatus::Offline,
    NodeStatus::Unreachable,
    NodeStatus::Draining,
    NodeStatus::Online,
];

impl ControlApi {
    /// One page of nodes, as `GET /v2/nodes` shows it.
    #[must_use]
    pub fn nodes(&self, query: &NodesQuery) -> NodesAnswer {
        let suspicion = self.registry.summary().self_suspicion;
        let page = self.page(query);
        let mut answer = NodesAnswer::new(&page, suspicion, self.registry.now(), &*self.data_path);
        if query.after.is_none() {
            answer.refused_nodes = self.refused_nodes();
        }
        answer
    }

    fn refused_nodes(&self) -> Vec<RefusedNodeAnswer> {
        let refused = self.registry.refused_nodes().into_iter();
        refused.map(RefusedNodeAnswer::new).collect()
    }

    /// Up to `limit` nodes, those that are not online first; each status sorted by id.
    #[must_use]
    pub fn nodes_worst_first(&self, limit: usize) -> NodesAnswer {
        let summary = self.registry.summary();
        let mut answer = NodesAnswer {
            self_suspicion: summary.self_suspicion,
            refused_nodes: self.refused_nodes(),
            ..NodesAnswer::default()
        };
        for status in WORST_FIRST {
            let room = limit.saturating_sub(answer.nodes.len());
            let count = room.min(summary.with_status(status));
            if count == 0 {
                continue;
            }
            let filter = NodeFilter {
                status: Some(status),
                ..NodeFilter::default()
            };
            let page = self.registry.page(None, count, &filter);
            let part = NodesAnswer::new(&page, false, self.registry.now(), &*self.data_path);
            answer.nodes.extend(part.nodes);
        }
        // A node whose status changed in between is there twice.
        let mut seen = std::collections::BTreeSet::new();
        answer
            .nodes
            .retain(|node| seen.insert(node.node_id.clone()));
        answer
    }
}

/// The nodes, page by page. Slots are as last reported by the nodes.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/nodes", tag = "nodes",
    params(
        crate::query::PageParameters,
        ("status" = Option<NodeStatus>, Query, description = "Only nodes with this status."),
        ("model" = Option<pool_registry_types::ModelName>, Query,
            description = "Only nodes with an endpoint that serves this model."),
    ),
    responses((status = 200, description = "Sorted by id.", body = NodesAnswer))
))]
pub(crate) async fn nodes(
    State(api): State<ControlApi>,
    RawQuery(query): RawQuery,
) -> Result<Json<NodesAnswer>, ApiError> {
    let query = NodesQuery::parse(query.as_deref().unwrap_or_default())?;
    Ok(Json(api.nodes(&query)))
}

/// One node. Slots are as last reported by the node.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/nodes/{node_id}", tag = "nodes", params(("node_id" = NodeId, Path,
        description = "The node.")),
    responses((status = 200, description = "As in the list.", body = NodeAnswer), (status = 404,
        description = "UNKNOWN_NODE"))
))]
pub(crate) async fn node(
    State(api): State<ControlApi>,
    ApiPath(node_id): ApiPath<NodeId>,
) -> Result<Json<NodeAnswer>, ApiError> {
    let node = api
        .registry
        .node(&node_id)
        .ok_or_else(|| refused(&RegistryError::UnknownNode { node_id }))?;
    Ok(Json(NodeAnswer::new(
        &node,
        api.registry.now(),
        &*api.data_path,
    )))
}

/// The body of a drain; it may be left out.
pub(crate) type DrainBody = Option<ApiJson<DrainRequest>>;

/// Drains a node: it gets no new requests, and running ones finish. The answer comes when the drain
/// is saved.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/nodes/{node_id}/drain", tag = "drains", params(("node_id" = NodeId, Path,
        description = "The node.")), request_body = Option<DrainRequest>,
    responses((status = 200, description = "It drains.", body = DrainBegunAnswer), (status = 404,
        description = "UNKNOWN_NODE"),
        (status = 500, description = "INTERNAL"))
))]
pub(crate) async fn drain_node(
    State(api): State<ControlApi>,
    ApiPath(node_id): ApiPath<NodeId>,
    drain: DrainBody,
) -> Result<Json<DrainBegunAnswer>, ApiError> {
    begin_drain(&api, &Target::Node(node_id), drain).await
}

/// Drains a pool of a node: it gets no new requests, and running ones finish. The answer comes when
/// the drain is saved.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{node_id}/{pool_id}/drain", tag = "drains", params(("node_id" = NodeId,
        Path, description = "The node."), ("pool_id" = PoolId, Path, description = "The pool.")),
        request_body = Option<DrainRequest>,
    responses((status = 200, description = "It drains.", body = DrainBegunAnswer), (status = 404,
        description = "NOT_FOUND, UNKNOWN_NODE"),
        (status = 500, description = "INTERNAL"))
))]
pub(crate) async fn drain_pool(
    State(api): State<ControlApi>,
    ApiPath((node_id, pool_id)): ApiPath<(NodeId, PoolId)>,
    drain: DrainBody,
) -> Result<Json<DrainBegunAnswer>, ApiError> {
    begin_drain(&api, &Target::Pool(node_id, pool_id), drain).await
}

/// Ends the drain of a node. The answer comes when that is saved.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/nodes/{node_id}/undrain", tag = "drains", params(("node_id" = NodeId, Path,
        description = "The node.")),
    responses((status = 200, description = "It takes requests.", body = Ack), (status = 404,
        description = "UNKNOWN_NODE"),
        (status = 500, description = "INTERNAL"))
))]
pub(crate) async fn undrain_node(
    State(api): State<ControlApi>,
    ApiPath(node_id): ApiPath<NodeId>,
) -> Result<Json<Ack>, ApiError> {
    end_drain(&api, &Target::Node(node_id)).await
}

/// Ends the drain of a pool. The answer comes when that is saved.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{node_id}/{pool_id}/undrain", tag = "drains",
        params(("node_id" = NodeId, Path, description = "The node."), ("pool_id" = PoolId, Path,
        description = "The pool.")),
    responses((status = 200, description = "It takes requests.", body = Ack), (status = 404,
        description = "NOT_FOUND, UNKNOWN_NODE"),
        (status = 500, description = "INTERNAL"))
))]
pub(crate) async fn undrain_pool(
    State(api): State<ControlApi>,
    ApiPath((node_id, pool_id)): ApiPath<(NodeId, PoolId)>,
) -> Result<Json<Ack>, ApiError> {
    end_drain(&api, &Target::Pool(node_id, pool_id)).await
}

async fn begin_drain(
    api: &ControlApi,
    target: &Target,
    drain: DrainBody,
) -> Result<Json<DrainBegunAnswer>, ApiError> {
    let deadline = drain.and_then(|ApiJson(drain)| drain.deadline_ms);
    let pending = api
        .registry
        .drain(target, deadline.map(Duration::from_millis))
        .map_err(|error| refused(&error))?;
    pending
        .durable()
        .await
        .map_err(|error| not_durable(&error))?;
    let (node_id, pool_id) = match target {
        Target::Node(node_id) => (node_id, None),
        Target::Pool(node_id, pool_id) => (node_id, Some(pool_id)),
    };
    let node = api.registry.node(node_id);
    let node = node.map(|node| NodeAnswer::new(&node, api.registry.now(), &*api.data_path));
    Ok(Json(DrainBegunAnswer {
        success: true,
        requests_running: node.and_then(|node| node.running(pool_id)),
    }))
}

async fn end_drain(api: &ControlApi, target: &Target) -> Result<Json<Ack>, ApiError> {
    let pending = api
        .registry
        .undrain(target)
        .map_err(|error| refused(&error))?;
    pending
        .durable()
        .await
        .map_err(|error| not_durable(&error))?;
    Ok(Json(Ack::new()))
}
