//! What the node itself does for an operator: drains of replicas, restarts, reloads.
//!
//! The node is the owner of these: it remembers the drains of its replicas and reports them at
//! once. The control plane passes the request on.

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

use crate::{ControlApi, DrainBegunAnswer, errors::refused, operators::DrainBody};

type OfReplica = ApiPath<(NodeId, PoolId, ReplicaId)>;
type OfPool = ApiPath<(NodeId, PoolId)>;

/// No new requests for one replica; running ones finish. The node remembers it.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{node_id}/{pool_id}/replicas/{replica_id}/drain", tag = "drains",
    params(("node_id" = NodeId, Path, description = "The node."), ("pool_id" = PoolId, Path, description = "The pool."), ("replica_id" = ReplicaId, Path, description = "The replica.")),
    request_body = Option<DrainRequest>,
    responses((status = 200, description = "It drains.", body = DrainBegunAnswer), (status = 404, description = "NOT_FOUND, UNKNOWN_NODE"),
        (status = 500, description = "INTERNAL"), (status = 503, description = "NODE_UNAVAILABLE"))
))]
pub(crate) async fn drain_replica(
    State(api): State<ControlApi>,
    ApiPath((node, pool, replica)): OfReplica,
    drain: DrainBody,
) -> Result<Json<DrainBegunAnswer>, Refusal> {
    let drain = drain.map_or_else(DrainRequest::default, |ApiJson(drain)| drain);
    // Two numbers do not fail to be written.
    let body = serde_json::to_vec(&drain).unwrap_or_default();
    let path = format!("/v2/pools/{pool}/replicas/{replica}/drain");
    forward(&api, &node, &path, body.into()).await?.done()?;
    let key = EndpointKey {
        node,
        pool,
        replica: Some(replica),
    };
    Ok(Json(DrainBegunAnswer {
        success: true,
        requests_running: (api.lookups.running)(&key),
    }))
}

/// Requests for one replica again.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{node_id}/{pool_id}/replicas/{replica_id}/undrain", tag = "drains",
    params(("node_id" = NodeId, Path, description = "The node."), ("pool_id" = PoolId, Path, description = "The pool."), ("replica_id" = ReplicaId, Path, description = "The replica.")),
    responses((status = 200, description = "It takes requests.", body = Ack), (status = 404, description = "NOT_FOUND, UNKNOWN_NODE"),
        (status = 500, description = "INTERNAL"), (status = 503, description = "NODE_UNAVAILABLE"))
))]
pub(crate) async fn undrain_replica(
    State(api): State<ControlApi>,
    ApiPath((node, pool, replica)): OfReplica,
) -> Result<Json<Ack>, Refusal> {
    let path = format!("/v2/pools/{pool}/replicas/{replica}/undrain");
    forward(&api, &node, &path, Bytes::new()).await?.done()?;
    Ok(Json(Ack::new()))
}

/// The engines of a pool afresh, one after the other; answered by the node when they are.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{node_id}/{pool_id}/restart", tag = "pools",
    params(("node_id" = NodeId, Path, description = "The node."), ("pool_id" = PoolId, Path, description = "The pool.")),
    responses((status = 200, description = "The pool, as its node describes it.", body = Object), (status = 404, description = "NOT_FOUND, UNKNOWN_NODE"),
        (status = 409, description = "ENGINES_NOT_OURS"), (status = 503, description = "NODE_UNAVAILABLE, POOL_UNAVAILABLE"))
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

/// New engines in the place of a pool's, as its node's pool file says now; answered by the node
/// when they are there.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/pools/{node_id}/{pool_id}/reload", tag = "pools",
    params(("node_id" = NodeId, Path, description = "The node."), ("pool_id" = PoolId, Path, description = "The pool.")),
    responses((status = 200, description = "The pool, as its node describes it.", body = Object), (status = 404, description = "NOT_FOUND, UNKNOWN_NODE"),
        (status = 409, description = "ENGINES_NOT_OURS, RELOAD_FAILED"), (status = 503, description = "NODE_UNAVAILABLE, POOL_UNAVAILABLE"))
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

/// What a node answered, in JSON.
pub(crate) struct Answered {
    status: StatusCode,
    body: Bytes,
}

impl Answered {
    /// Checks that it is an answer to the operator's request.
    fn new(node: &NodeView, status: StatusCode, body: Bytes) -> Result<Self, ApiError> {
        let node_id = &node.node_id;
        let unusable = |message: String| Err(ApiError::new(ErrorCode::NodeUnavailable, message));
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            // The operator's token is in order, or the request would not have come this far.
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

    /// That it was done; otherwise the node's refusal.
    fn done(self) -> Result<(), Refusal> {
        if self.status.is_success() {
            Ok(())
        } else {
            Err(Refusal::OfNode(self))
        }
    }
}

impl IntoResponse for Answered {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        (self.status, [(CONTENT_TYPE, json)], self.body).into_response()
    }
}

/// Why something was not done.
pub(crate) enum Refusal {
    /// The control plane's own reason.
    Own(ApiError),
    /// The node's, in its own words.
    OfNode(Answered),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Own(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Own(error) => error.into_response(),
            Self::OfNode(answer) => answer.into_response(),
        }
    }
}

/// Passes a request on to the node.
async fn forward(
    api: &ControlApi,
    node_id: &NodeId,
    path: &str,
    body: Bytes,
) -> Result<Answered, ApiError> {
    let node = api.registry.node(node_id).ok_or_else(|| {
        let node_id = node_id.clone();
        refused(&RegistryError::UnknownNode { node_id })
    })?;
    let (status, body) = api.node_control.post(&node, path, body).await?;
    Answered::new(&node, status, body)
}
