//! The routes for nodes: register, heartbeat, deregister.

use std::net::IpAddr;

use axum::{
    Extension, Json,
    body::Body,
    extract::{RawQuery, Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderValue, header::CONTENT_TYPE};
use http_server::{Access, ApiError, ApiJson, ApiPath, Principal, forbidden, read_body, read_json};
use pool_registry_types::{
    Ack, HeartbeatRequest, MAX_NODE_BODY_BYTES, NodeId, RegisterRequest, RegisterResponse, millis,
};
use registry_runtime::{HeartbeatError, RegistryHandle};
use service_registry::{Pace, RegisterOutcome};

use crate::{
    api::{ControlApi, RegistrationsAllowed},
    errors::{not_durable, refused},
};

/// The path at which nodes register.
const REGISTER: &str = "/v2/nodes/register";

impl ControlApi {
    /// Notes that a request was refused before it came here, if it was one of a node: for its
    /// token, for example.
    pub fn request_refused(&self, path: &str, peer: IpAddr, error: &ApiError) {
        let is_of_node =
            path == REGISTER || (path.starts_with("/v2/nodes/") && path.ends_with("/heartbeat"));
        if self.takes_registrations && is_of_node {
            self.registry.node_refused(peer, &error.message);
        }
    }
}

/// Registers a node. The same id registers again and replaces.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/nodes/register", tag = "nodes", request_body = RegisterRequest,
    responses((status = 200, description = "It is registered.", body = RegisterResponse),
        (status = 409, description = "NODE_ID_CONFLICT, STALE_INCARNATION"), (status = 503,
            description = "CLOUD_PROFILE_DISABLED, TOO_MANY_NODES"))
))]
pub(crate) async fn register(
    _: RegistrationsAllowed,
    State(api): State<ControlApi>,
    Extension(caller): Extension<Principal>,
    ApiJson(request): ApiJson<RegisterRequest, MAX_NODE_BODY_BYTES>,
) -> Result<Json<RegisterResponse>, ApiError> {
    // The path names no node, so the route could not tell.
    caller
        .acts_for(Access::NODE, request.node_id.as_str())
        .map_err(|error| forbidden(&error))?;
    if let Some(allowed) = &api.node_addresses
        && let Err(error) = allowed.check_host(request.address.host())
    {
        let text = format!("address: {error}; see ORCHESTRATORD_NODE_RANGES");
        return Err(ApiError::invalid(text));
    }
    let node_id = request.node_id.clone();
    let outcome = api
        .registry
        .register_unless_held(request)
        .await
        .map_err(|error| refused(&error))?;
    let Pace {
        next_heartbeat,
        timeout,
    } = api.registry.pace();
    let message = match outcome {
        RegisterOutcome::Joined => format!("node {node_id} registered"),
        RegisterOutcome::Restarted => format!("node {node_id} registered with a new incarnation"),
        RegisterOutcome::Renewed => format!("node {node_id} registered again"),
    };
    let mut response = RegisterResponse::new(node_id, message);
    response.next_heartbeat_ms = Some(millis(next_heartbeat));
    response.timeout_ms = Some(millis(timeout));
    Ok(Json(response))
}

/// Takes the full state of a node.
#[cfg_attr(feature = "openapi", utoipa::path(
    post, path = "/v2/nodes/{node_id}/heartbeat", tag = "nodes", params(("node_id" = NodeId, Path,
        description = "The node.")), request_body = HeartbeatRequest,
    responses((status = 200, description = "It is taken in.",
        body = pool_registry_types::HeartbeatResponse),
        (status = 404, description = "UNKNOWN_NODE"), (status = 409,
            description = "STALE_INCARNATION"), (status = 503,
            description = "CLOUD_PROFILE_DISABLED"))
))]
pub(crate) async fn heartbeat(
    _: RegistrationsAllowed,
    State(api): State<ControlApi>,
    ApiPath(node_id): ApiPath<NodeId>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = read_body(request, MAX_NODE_BODY_BYTES).await?;
    take_heartbeat(&api.registry, &node_id, &body)
}

/// Takes in a heartbeat, and answers with the time of the next one.
pub(crate) fn take_heartbeat(
    registry: &RegistryHandle,
    node_id: &NodeId,
    body: &Bytes,
) -> Result<Response, ApiError> {
    report(registry, node_id, body)?;
    Ok(accepted(registry.pace()))
}

/// A heartbeat that repeats the last one is recognised without parsing its lists. An invalid one is
/// parsed again for the text of the error.
fn report(registry: &RegistryHandle, node_id: &NodeId, body: &[u8]) -> Result<(), ApiError> {
    match registry.heartbeat_bytes(node_id, body) {
        Ok(_) => Ok(()),
        Err(HeartbeatError::Refused(error)) => Err(refused(&error)),
        Err(HeartbeatError::Invalid(_) | HeartbeatError::Trailing(_)) => {
            let request: HeartbeatRequest = read_json(body)?;
            let done = registry.heartbeat(node_id, request);
            done.map(drop).map_err(|error| refused(&error))
        }
    }
}

/// The answer to a heartbeat: a [`HeartbeatResponse`](pool_registry_types::HeartbeatResponse),
/// written without a serialiser.
fn accepted(pace: Pace) -> Response {
    let (next, timeout) = (millis(pace.next_heartbeat), millis(pace.timeout));
    let body = format!(r#"{{"success":true,"next_heartbeat_ms":{next},"timeout_ms":{timeout}}}"#);
    let mut response = Response::new(Body::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// Removes a node. An agent names its incarnation, so that it does not remove a later start of the
/// same node. An operator names none; the answer then comes when the removal is saved. A node that
/// lives registers again with its next heartbeat.
#[cfg_attr(feature = "openapi", utoipa::path(
    delete, path = "/v2/nodes/{node_id}", tag = "nodes",
    params(
        ("node_id" = NodeId, Path, description = "The node."),
        ("incarnation" = Option<u64>, Query,
            description = "Only this incarnation; without it any."),
    ),
    responses((status = 200, description = "It is removed.", body = Ack),
        (status = 404, description = "UNKNOWN_NODE"), (status = 409,
            description = "STALE_INCARNATION"), (status = 500, description = "INTERNAL"),
        (status = 503, description = "CLOUD_PROFILE_DISABLED"))
))]
pub(crate) async fn deregister(
    _: RegistrationsAllowed,
    State(api): State<ControlApi>,
    ApiPath(node_id): ApiPath<NodeId>,
    RawQuery(query): RawQuery,
) -> Result<Json<Ack>, ApiError> {
    let incarnation = incarnation(query.as_deref().unwrap_or_default())?;
    if incarnation.is_some() {
        api.registry
            .deregister(&node_id, incarnation)
            .map_err(|error| refused(&error))?;
    } else {
        let pending = api.registry.forget(&node_id);
        let pending = pending.map_err(|error| refused(&error))?;
        let saved = pending.durable().await;
        saved.map_err(|error| not_durable(&error))?;
    }
    Ok(Json(Ack::new()))
}

/// `incarnation` of a query. Unknown parameters are ignored, as unknown fields are.
fn incarnation(query: &str) -> Result<Option<u64>, ApiError> {
    let mut parameters = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("incarnation="));
    let wrong = |_| ApiError::invalid("incarnation: must be a number, as registered");
    parameters.next().map(str::parse).transpose().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt as _;
    use pool_registry_types::HeartbeatResponse;

    use super::*;

    // spec: WIRE-40
    #[tokio::test]
    async fn the_written_answer_is_the_documented_one() {
        let pace = Pace {
            next_heartbeat: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
        };
        let response = accepted(pace);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let mut documented = HeartbeatResponse::new(10_000);
        documented.timeout_ms = Some(30_000);
        assert_eq!(body, serde_json::to_vec(&documented).unwrap());
    }
}
