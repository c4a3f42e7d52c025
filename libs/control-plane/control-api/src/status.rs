//! `GET /v2/status`: how it all stands, on one page.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::{collections::BTreeMap, time::SystemTime};

use axum::{Json, extract::State};
use pool_registry_types::NodeId;
use serde::Serialize;
use service_registry::FleetSummary;

use crate::ControlApi;

/// What the data path tells of itself.
#[derive(Debug, Clone, Default)]
pub struct DataPathView {
    /// Slots of all endpoints that take requests.
    pub slots: SlotCounts,
    /// Each model that an endpoint serves or a request is for.
    pub models: BTreeMap<String, ModelLoad>,
    /// The last seconds.
    pub traffic: TrafficAnswer,
    /// The last requests that were not served, the newest first.
    pub recent_errors: Vec<RecentErrorAnswer>,
}

/// One model, as the data path counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelLoad {
    /// Endpoints that take requests for it.
    pub endpoints: u32,
    /// Their slots.
    pub slots_total: u64,
    /// Those of them that are free.
    pub slots_free: u64,
    /// Requests that hold a slot.
    pub running: u64,
    /// Requests that wait for one, and somebody waits for them.
    pub queued_interactive: u64,
    /// Requests that wait for one and have time.
    pub queued_batch: u64,
}

/// Asks the data path.
pub type DataPathLookup = dyn Fn() -> DataPathView + Send + Sync;

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
    /// For how long it runs, in milliseconds.
    pub uptime_ms: u64,
    /// Its calendar (RFC 3339, UTC, milliseconds).
    pub now: String,
    /// Nodes by status. In the HOME profile this machine is the only one.
    pub nodes: NodeCounts,
    /// Slots of all endpoints that take requests.
    pub slots: SlotCounts,
    /// Each model that somebody serves or waits for, sorted by name.
    pub models: Vec<ModelStatus>,
    /// What went through in the last seconds.
    pub traffic: TrafficAnswer,
    /// The last requests that were not served though nothing was wrong with them, the newest
    /// first.
    pub recent_errors: Vec<RecentErrorAnswer>,
}

/// How many nodes there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeCounts {
    /// They take requests.
    pub online: u32,
    /// They take no new ones.
    pub draining: u32,
    /// They report but cannot be reached.
    pub unreachable: u32,
    /// They are silent.
    pub offline: u32,
}

/// How many slots there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SlotCounts {
    /// All of them.
    pub total: u64,
    /// Those that a request could take now.
    pub free: u64,
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

/// What went through in the last seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TrafficAnswer {
    /// How far back it looks, in milliseconds.
    pub window_ms: u64,
    /// Requests that ended, in a second.
    pub requests_per_s: f64,
    /// Those of them that were not served though nothing was wrong with them.
    pub errors_per_s: f64,
    /// Generated tokens in a second. Events of streams count as tokens, until the engine tells its
    /// own count.
    pub tokens_per_s: f64,
    /// From a request to the first event of its stream, in milliseconds.
    pub first_token_ms: PercentilesAnswer,
    /// From one event of a stream to the next, in milliseconds.
    pub inter_token_ms: PercentilesAnswer,
    /// In the waiting line, of requests that got a slot, in milliseconds.
    pub queue_ms: PercentilesAnswer,
}

/// Three percentiles; `null` when nothing was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PercentilesAnswer {
    /// Half were at most this.
    pub p50: Option<f64>,
    /// Nine of ten.
    pub p90: Option<f64>,
    /// 99 of a hundred.
    pub p99: Option<f64>,
}

/// A request that was not served, or whose answer broke off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecentErrorAnswer {
    /// When (RFC 3339, UTC, milliseconds).
    pub at: String,
    /// Its name.
    pub request_id: String,
    /// What went wrong.
    #[cfg_attr(feature = "openapi", schema(value_type = pool_registry_types::ErrorCode))]
    pub code: &'static str,
    /// What its client was told.
    pub message: String,
    /// The model it was for; `null` when that was not known.
    pub model: Option<String>,
    /// The node it was with last; `null` when it was with none.
    pub node_id: Option<NodeId>,
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
    /// How it all stands, as `GET /v2/status` tells it. Its cost does not depend on the number of
    /// nodes.
    #[must_use]
    pub fn status(&self) -> StatusAnswer {
        let view = (self.data_path)();
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

/// How it all stands.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/v2/status", tag = "watching",
    responses((status = 200, description = "On one page.", body = StatusAnswer))
))]
pub(crate) async fn status(State(api): State<ControlApi>) -> Json<StatusAnswer> {
    Json(api.status())
}
