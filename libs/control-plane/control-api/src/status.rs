//! `GET /v2/status`: the whole system in one answer.

// Peers choose these numbers: arithmetic must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::time::SystemTime;

use axum::{Json, extract::State};
use serde::Serialize;
use service_registry::FleetSummary;

use crate::{
    api::ControlApi,
    data_path::ModelLoad,
    traffic::{RecentErrorAnswer, SlotCounts, TrafficAnswer},
};

/// `GET /v2/status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusAnswer {
    /// The version of the control plane.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub version: &'static str,
    /// `home` or `cloud`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub profile: &'static str,
    /// Time since its start, in milliseconds.
    pub uptime_ms: u64,
    /// Its wall-clock time (RFC 3339, UTC, milliseconds).
    pub now: String,
    /// Nodes by status. In the HOME profile this machine is the only one.
    pub nodes: NodeCounts,
    /// Slots of all endpoints that take requests, as the data path counts them now.
    pub slots: SlotCounts,
    /// Each model that has an endpoint or a waiting request, sorted by name.
    pub models: Vec<ModelStatus>,
    /// The traffic of the last seconds.
    pub traffic: TrafficAnswer,
    /// The last valid requests that failed, the newest first.
    pub recent_errors: Vec<RecentErrorAnswer>,
}

/// Numbers of nodes, by status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeCounts {
    /// Nodes that take requests.
    pub online: u32,
    /// Nodes that finish running requests and take no new ones.
    pub draining: u32,
    /// Nodes that report but cannot be reached.
    pub unreachable: u32,
    /// Nodes that are silent.
    pub offline: u32,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelStatus {
    /// Its name.
    pub model: String,
    /// Endpoints that take requests for it.
    pub endpoints: u32,
    /// Their slots.
    pub slots_total: u64,
    /// Those of them that are free.
    pub slots_free: u64,
    /// Requests that hold a slot.
    pub running: u64,
    /// Interactive requests that wait.
    pub queued_interactive: u64,
    /// Batch requests that wait.
    pub queued_batch: u64,
}

impl From<FleetSummary> for NodeCounts {
    fn from(summary: FleetSummary) -> Self {
        let count = |nodes: usize| u32::try_from(nodes).unwrap_or(u32::MAX);
        Self {
            online: count(summary.online),
            draining: count(summary.draining),
            unreachable: count(summary.unreachable),
            offline: count(summary.offline),
        }
    }
}

impl ModelStatus {
    fn new(model: String, load: &ModelLoad) -> Self {
        Self {
            model,
            endpoints: load.endpoints,
            slots_total: load.slots_total,
            slots_free: load.slots_free,
            running: load.running,
            queued_interactive: load.queued_interactive,
            queued_batch: load.queued_batch,
        }
    }
}

impl ControlApi {
    /// The answer of `GET /v2/status`. Its cost does not depend on the number of nodes.
    #[must_use]
    pub fn status(&self) -> StatusAnswer {
        let view = self.data_path.view();
        let models = view.models.into_iter();
        StatusAnswer {
            version: self.version,
            profile: if self.takes_registrations {
                "cloud"
            } else {
                "home"
            },
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            now: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            nodes: self.registry.summary().into(),
            slots: view.slots,
            models: models
                .map(|(model, load)| ModelStatus::new(model, &load))
                .collect(),
            traffic: view.traffic,
            recent_errors: view.recent_errors,
        }
    }
}

/// The whole system in one answer. Slots are live: the data path counts its own requests.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/status", tag = "watching",
    responses((status = 200, description = "The whole system.", body = StatusAnswer))
))]
pub(crate) async fn status(State(api): State<ControlApi>) -> Json<StatusAnswer> {
    Json(api.status())
}
