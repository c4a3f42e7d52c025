//! What operators call: look at nodes, drain and undrain.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::{FromRequest, Request, State},
};
use http_server::{ApiError, ApiJson, ApiPath, CONTROL_BODY_BYTES, read_body};
use pool_registry_types::{Ack, NodeId, PoolId};
use serde::Deserialize;
use service_registry::{RegistryError, Target};

use crate::{ControlApi, NodeAnswer, NodesAnswer, errors::refused, routes::Registry};

pub(crate) async fn nodes(Registry(registry): Registry, State(api): State<ControlApi>) -> Json<NodesAnswer> {
    let snapshot = registry.nodes().borrow().clone();
    Json(NodesAnswer::new(
        &snapshot,
        registry.now(),
        api.quarantine.as_ref(),
    ))
}

pub(crate) async fn node(
    Registry(registry): Registry,
    State(api): State<ControlApi>,
    ApiPath(node_id): ApiPath<NodeId>,
) -> Result<Json<NodeAnswer>, ApiError> {
    let snapshot = registry.nodes().borrow().clone();
    let node = snapshot
        .get(&node_id)
        .ok_or_else(|| refused(&RegistryError::UnknownNode { node_id }.into()))?;
    Ok(Json(NodeAnswer::new(
        node,
        registry.now(),
        api.quarantine.as_ref(),
    )))
}

/// The body of a drain; it may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct DrainRequest {
    /// How long running requests may take to finish, in milliseconds from now; absent: as long as they like.
    pub deadline_ms: Option<u64>,
}

impl<S: Sync> FromRequest<S> for DrainRequest {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = read_body(request, CONTROL_BODY_BYTES).await?;
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let ApiJson::<Self>(drain) = ApiJson::from_request(Request::new(Body::from(body)), state).await?;
        Ok(drain)
    }
}

pub(crate) async fn drain_node(
    registry: Registry,
    ApiPath(node_id): ApiPath<NodeId>,
    drain: DrainRequest,
) -> Result<Json<Ack>, ApiError> {
    begin_drain(registry, Target::Node(node_id), &drain).await
}

pub(crate) async fn drain_pool(
    registry: Registry,
    ApiPath((node_id, pool_id)): ApiPath<(NodeId, PoolId)>,
    drain: DrainRequest,
) -> Result<Json<Ack>, ApiError> {
    begin_drain(registry, Target::Pool(node_id, pool_id), &drain).await
}

pub(crate) async fn undrain_node(
    registry: Registry,
    ApiPath(node_id): ApiPath<NodeId>,
) -> Result<Json<Ack>, ApiError> {
    end_drain(registry, Target::Node(node_id)).await
}

pub(crate) async fn undrain_pool(
    registry: Registry,
    ApiPath((node_id, pool_id)): ApiPath<(NodeId, PoolId)>,
) -> Result<Json<Ack>, ApiError> {
    end_drain(registry, Target::Pool(node_id, pool_id)).await
}

async fn begin_drain(
    Registry(registry): Registry,
    target: Target,
    drain: &DrainRequest,
) -> Result<Json<Ack>, ApiError> {
    registry
        .drain(target, drain.deadline_ms.map(Duration::from_millis))
        .await
        .map_err(|error| refused(&error))?;
    Ok(Json(Ack { success: true }))
}

async fn end_drain(Registry(registry): Registry, target: Target) -> Result<Json<Ack>, ApiError> {
    registry.undrain(target).await.map_err(|error| refused(&error))?;
    Ok(Json(Ack { success: true }))
}
