//! Requests of operators that are forwarded to nodes: drains of replicas, restarts, reloads.
//!
//! The node owns these: it stores the drains of its replicas and reports them at once.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use http_server::{ApiError, ApiJson, ApiPath};
use pool_registry_types::{Ack, DrainRequest, ErrorCode, NodeId, PoolId, ReplicaId};
use routing_table::EndpointKey;
use serde::de::IgnoredAny;
use service_registry::{NodeView, RegistryError};

use crate::{api::ControlApi, errors::refused, operators::DrainBody, view::DrainBegunAnswer};

type OfReplica = ApiPath<(NodeId, PoolId, ReplicaId)>;
type OfPool = ApiPath<(NodeId, PoolId)>;

/// Drains a replica: it gets no new requests, and running ones finish. The node stores the drain.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{node_id}/{pool_id}/replicas/{replica_id}/drain", tag = "drains",
    params(("node_id" = NodeId, Path, description = "The node."), ("pool_id" = PoolId, Path,
        description = "The pool."), ("replica_id" = ReplicaId, Path, description = "The replica.")),
    request_body = Option<DrainRequest>,
    responses((status = 200, description = "It drains.", body = DrainBegunAnswer), (status = 404,
        description = "NOT_FOUND, UNKNOWN_NODE"),
        (status = 500, description = "INTERNAL"), (status = 503, description = "NODE_UNAVAILABLE"))
))]
pub(crate) async fn drain_replica(
    State(api): State<ControlApi>,
    ApiPath((node, pool, replica)): OfReplica,
    drain: DrainBody,
) -> Result<Json<DrainBegunAnswer>, ForwardError> {
    let drain = drain.map_or_else(DrainRequest::default, |ApiJson(drain)| drain);
    // Serialising numbers cannot fail.
    let body = serde_json::to_vec(&drain).unwrap_or_default();
    let path = format!("/v2/pools/{pool}/replicas/{replica}/drain");
    forward(&api, &node, &path, body.into()).await?.success()?;
    let key = EndpointKey {
        node,
        pool,
        replica: Some(replica),
    };
    Ok(Json(DrainBegunAnswer {
        success: true,
        requests_running: api.data_path.requests_running(&key),
    }))
}

/// Ends the drain of a replica.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{node_id}/{pool_id}/replicas/{replica_id}/undrain", tag = "drains",
    params(("node_id" = NodeId, Path, description = "The node."), ("pool_id" = PoolId, Path,
        description = "The pool."), ("replica_id" = ReplicaId, Path, description = "The replica.")),
    responses((status = 200, description = "It takes requests.", body = Ack), (status = 404,
        description = "NOT_FOUND, UNKNOWN_NODE"),
        (status = 500, description = "INTERNAL"), (status = 503, description = "NODE_UNAVAILABLE"))
))]
pub(crate) async fn undrain_replica(
    State(api): State<ControlApi>,
    ApiPath((node, pool, replica)): OfReplica,
) -> Result<Json<Ack>, ForwardError> {
    let path = format!("/v2/pools/{pool}/replicas/{replica}/undrain");
    forward(&api, &node, &path, Bytes::new()).await?.success()?;
    Ok(Json(Ack { success: true }))
}

/// Restarts the engines of a pool, one after the other. The node answers when all have started.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{node_id}/{pool_id}/restart", tag = "pools",
    params(("node_id" = NodeId, Path, description = "The node."), ("pool_id" = PoolId, Path,
        description = "The pool.")),
    responses((status = 200, description = "The pool, as its node describes it.", body = Object),
        (status = 404, description = "NOT_FOUND, UNKNOWN_NODE"),
        (status = 409, description = "ENGINES_NOT_OURS"), (status = 503,
            description = "NODE_UNAVAILABLE, POOL_UNAVAILABLE"))
))]
pub(crate) async fn restart(
    State(api): State<ControlApi>,
    ApiPath((node, pool)): OfPool,
) -> Result<Response, ApiError> {
    let path = format!("/v2/pools/{pool}/restart");
    Ok(forward(&api, &node, &path, Bytes::new())
        .await?
        .into_response())
}

/// Replaces the engines of a pool as the node's pool file now describes them. The node answers
/// when all have started.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{node_id}/{pool_id}/reload", tag = "pools",
    params(("node_id" = NodeId, Path, description = "The node."), ("pool_id" = PoolId, Path,
        description = "The pool.")),
    responses((status = 200, description = "The pool, as its node describes it.", body = Object),
        (status = 404, description = "NOT_FOUND, UNKNOWN_NODE"),
        (status = 409, description = "ENGINES_NOT_OURS, RELOAD_FAILED"), (status = 503,
            description = "NODE_UNAVAILABLE, POOL_UNAVAILABLE"))
))]
pub(crate) async fn reload(
    State(api): State<ControlApi>,
    ApiPath((node, pool)): OfPool,
) -> Result<Response, ApiError> {
    let path = format!("/v2/pools/{pool}/reload");
    Ok(forward(&api, &node, &path, Bytes::new())
        .await?
        .into_response())
}

/// The answer of a node, in JSON.
pub(crate) struct NodeResponse {
    status: StatusCode,
    body: Bytes,
}

impl NodeResponse {
    /// Checks that the operator can read the answer.
    fn new(node: &NodeView, status: StatusCode, body: Bytes) -> Result<Self, ApiError> {
        let node_id = &node.node_id;
        let unusable = |message: String| Err(ApiError::new(ErrorCode::NodeUnavailable, message));
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            // The operator's token is valid, because this process has checked it.
            return unusable(format!(
                "node {node_id} does not accept the token of this control plane"
            ));
        }
        if serde_json::from_slice::<IgnoredAny>(&body).is_err() {
            return unusable(format!(
                "node {node_id} answered {status} with something else than JSON"
            ));
        }
        Ok(Self { status, body })
    }

    /// Returns the refusal of the node as an error.
    fn success(self) -> Result<(), ForwardError> {
        if self.status.is_success() {
            Ok(())
        } else {
            Err(ForwardError::ByNode(self))
        }
    }
}

impl IntoResponse for NodeResponse {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        (self.status, [(CONTENT_TYPE, json)], self.body).into_response()
    }
}

/// Why a forwarded request failed.
pub(crate) enum ForwardError {
    /// The control plane refuses.
    ByControlPlane(ApiError),
    /// The node refuses, with this answer.
    ByNode(NodeResponse),
}

impl From<ApiError> for ForwardError {
    fn from(error: ApiError) -> Self {
        Self::ByControlPlane(error)
    }
}

impl IntoResponse for ForwardError {
    fn into_response(self) -> Response {
        match self {
            Self::ByControlPlane(error) => error.into_response(),
            Self::ByNode(answer) => answer.into_response(),
        }
    }
}

/// Forwards a request to a node.
async fn forward(
    api: &ControlApi,
    node_id: &NodeId,
    path: &str,
    body: Bytes,
) -> Result<NodeResponse, ApiError> {
    let node = api.registry.node(node_id).ok_or_else(|| {
        let node_id = node_id.clone();
        refused(&RegistryError::UnknownNode { node_id })
    })?;
    let (status, body) = api.node_control.post(&node, path, body).await?;
    NodeResponse::new(&node, status, body)
}
