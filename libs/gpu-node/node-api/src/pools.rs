//! Views of the node's pools.

use http_server::ApiError;
use pool_registry::PoolRegistry;
use pool_registry_types::{ErrorCode, PoolId, PoolStatus, RefusedHandoff, ReplicaStatus};
use serde::Serialize;

use crate::drains::{DrainProgress, Drains};

#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(crate) struct Pools {
    pub(crate) pools: Vec<PoolView>,
    /// Handoffs that were refused.
    refused: Vec<RefusedView>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
struct RefusedView {
    file: String,
    reason: String,
}

impl From<RefusedHandoff> for RefusedView {
    fn from(refused: RefusedHandoff) -> Self {
        Self {
            file: refused.file().to_owned(),
            reason: refused.reason().to_owned(),
        }
    }
}

/// A pool as in a heartbeat, and the progress of its drain.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(crate) struct PoolView {
    #[serde(flatten)]
    pub(crate) status: PoolStatus,
    /// These replace the replicas of the status.
    pub(crate) replicas: Vec<ReplicaView>,
    /// Requests that its engines serve, or that wait for one to wake. Includes engines without a
    /// handoff.
    pub(crate) requests_running: u64,
    /// Set while an operator drains it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drain: Option<DrainProgress>,
}

/// The same for one replica.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(crate) struct ReplicaView {
    #[serde(flatten)]
    pub(crate) status: ReplicaStatus,
    pub(crate) requests_running: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drain: Option<DrainProgress>,
}

impl PoolView {
    fn new(registry: &PoolRegistry, drains: &Drains, mut status: PoolStatus) -> Self {
        let id = &status.pool_id;
        let replica = |replica: ReplicaStatus| {
            let requests_running = registry.in_flight_of_replica(id, &replica.replica_id);
            ReplicaView {
                drain: drains.progress(id, Some(&replica.replica_id), requests_running),
                requests_running,
                status: replica,
            }
        };
        let replicas = status.replicas.take().unwrap_or_default();
        let requests_running = registry.in_flight_of(id);
        Self {
            replicas: replicas.into_iter().map(replica).collect(),
            drain: drains.progress(id, None, requests_running),
            requests_running,
            status,
        }
    }
}

/// One pool.
pub(crate) fn view(
    registry: &PoolRegistry,
    drains: &Drains,
    id: &PoolId,
) -> Result<PoolView, ApiError> {
    let found = registry
        .statuses()
        .into_iter()
        .find(|pool| pool.pool_id == *id);
    found
        .map(|status| PoolView::new(registry, drains, status))
        .ok_or_else(|| ApiError::new(ErrorCode::NotFound, format!("this node has no pool {id}")))
}

/// All pools.
pub(crate) fn views(registry: &PoolRegistry, drains: &Drains) -> Pools {
    let statuses = registry.statuses().into_iter();
    Pools {
        pools: statuses
            .map(|status| PoolView::new(registry, drains, status))
            .collect(),
        refused: registry
            .refused()
            .into_iter()
            .map(RefusedView::from)
            .collect(),
    }
}
