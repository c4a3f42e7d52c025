//! The state of the data path, as the API shows it.

use std::collections::BTreeMap;

use routing_table::EndpointKey;
use serde::Serialize;

use crate::traffic::{RecentErrorAnswer, SlotCounts, TrafficAnswer};

/// Reads the current state of the data path. The binary implements it, because the control plane
/// does not depend on the data path. Every method has a default for a process without one.
pub trait DataPathSource: Send + Sync {
    /// The quarantine of an endpoint, if it is in one. Called once per endpoint and answer.
    fn quarantine(&self, _endpoint: &EndpointKey) -> Option<QuarantineView> {
        None
    }

    /// The number of requests that this control plane runs at an endpoint; `None` when it is
    /// unknown. Called once per endpoint and answer.
    fn requests_running(&self, _endpoint: &EndpointKey) -> Option<u64> {
        None
    }

    /// The slots of an endpoint that are free at this moment; `None` when that is unknown. Called
    /// once per endpoint and answer.
    fn slots_free(&self, _endpoint: &EndpointKey) -> Option<u32> {
        None
    }

    /// Slots, models and traffic. Called once per `GET /v2/status`.
    fn view(&self) -> DataPathView {
        DataPathView::default()
    }
}

/// A process without a data path.
pub(crate) struct NoDataPath;

impl DataPathSource for NoDataPath {}

/// An open circuit breaker: requests failed at the endpoint, so it gets none for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuarantineView {
    /// The failure, for people.
    pub reason: String,
    /// Time until the endpoint is tried again, in milliseconds.
    pub retry_in_ms: u64,
}

/// Slots, models and traffic of the data path.
#[derive(Debug, Clone, Default)]
pub struct DataPathView {
    /// Slots of all endpoints that take requests.
    pub slots: SlotCounts,
    /// Each model that has an endpoint or a waiting request.
    pub models: BTreeMap<String, ModelLoad>,
    /// The traffic of the last seconds.
    pub traffic: TrafficAnswer,
    /// The last valid requests that failed, the newest first.
    pub recent_errors: Vec<RecentErrorAnswer>,
}

/// The load of one model.
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
    /// Interactive requests that wait for a slot.
    pub queued_interactive: u64,
    /// Batch requests that wait for a slot.
    pub queued_batch: u64,
}
