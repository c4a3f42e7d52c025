//! What nodes call: register, heartbeat, deregister.

use std::time::Duration;

use axum::{Json, extract::RawQuery};
use http_server::{ApiError, ApiJson, ApiPath};
use pool_registry_types::{
    Ack, HeartbeatRequest, HeartbeatResponse, MAX_NODE_BODY_BYTES, NodeId, RegisterRequest, RegisterResponse,
};
use service_registry::RegisterOutcome;

use crate::{errors::refused, routes::Registry};

/// A node joins, or says anew who it is.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/nodes/register", tag = "nodes", request_body = RegisterRequest,
    responses((status = 200, description = "It is known.", body = RegisterResponse),
        (status = 409, description = "NODE_ID_CONFLICT, STALE_INCARNATION"), (status = 503, description = "CLOUD_PROFILE_DISABLED, TOO_MANY_NODES"))
))]
pub(crate) async fn register(
    Registry(registry): Registry,
    ApiJson(request): ApiJson<RegisterRequest, MAX_NODE_BODY_BYTES>,
) -> Result<Json<RegisterResponse>, ApiError> {
    let node_id = request.node_id.clone();
    let outcome = registry
        .register(request)
        .await
        .map_err(|error| refused(&error))?;
    let config = registry.config();
    Ok(Json(RegisterResponse {
        success: true,
        message: match outcome {
            RegisterOutcome::Joined => format!("node {node_id} registered"),
            RegisterOutcome::Restarted => format!("node {node_id} registered as a new life of itself"),
            RegisterOutcome::Renewed => format!("node {node_id} registered again"),
        },
        node_id,
        next_heartbeat_ms: Some(millis(config.next_heartbeat())),
        timeout_ms: Some(millis(config.node_timeout)),
    }))
}

/// The full state of a node, every time.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/nodes/{node_id}/heartbeat", tag = "nodes", params(("node_id" = NodeId, Path, description = "The node.")), request_body = HeartbeatRequest,
    responses((status = 200, description = "It was heard.", body = HeartbeatResponse),
        (status = 404, description = "UNKNOWN_NODE"), (status = 409, description = "STALE_INCARNATION"), (status = 503, description = "CLOUD_PROFILE_DISABLED"))
))]
pub(crate) async fn heartbeat(
    Registry(registry): Registry,
    ApiPath(node_id): ApiPath<NodeId>,
    ApiJson(request): ApiJson<HeartbeatRequest, MAX_NODE_BODY_BYTES>,
) -> Result<Json<HeartbeatResponse>, ApiError> {
    registry
        .heartbeat(node_id, request)
        .await
        .map_err(|error| refused(&error))?;
    Ok(Json(HeartbeatResponse {
        success: true,
        next_heartbeat_ms: millis(registry.config().next_heartbeat()),
    }))
}

/// A node leaves. An agent names its incarnation, so that it takes no later start of the same node with it.
#[cfg_attr(feature = "openapi", utoipa::path(
    delete, path = "/v2/nodes/{node_id}", tag = "nodes",
    params(
        ("node_id" = NodeId, Path, description = "The node."),
        ("incarnation" = Option<u64>, Query, description = "Only this start of its agent; otherwise whichever is registered."),
    ),
    responses((status = 200, description = "It is no longer known.", body = Ack),
        (status = 404, description = "UNKNOWN_NODE"), (status = 409, description = "STALE_INCARNATION"), (status = 503, description = "CLOUD_PROFILE_DISABLED"))
))]
pub(crate) async fn deregister(
    Registry(registry): Registry,
    ApiPath(node_id): ApiPath<NodeId>,
    RawQuery(query): RawQuery,
) -> Result<Json<Ack>, ApiError> {
    let incarnation = incarnation(query.as_deref().unwrap_or_default())?;
    registry
        .deregister(node_id, incarnation)
        .await
        .map_err(|error| refused(&error))?;
    Ok(Json(Ack { success: true }))
}

/// `incarnation` of a query. Unknown parameters are ignored, as unknown fields are.
fn incarnation(query: &str) -> Result<Option<u64>, ApiError> {
    let mut parameters = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("incarnation="));
    let wrong = |_| ApiError::invalid("incarnation: must be a number, as registered");
    parameters.next().map(str::parse).transpose().map_err(wrong)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
