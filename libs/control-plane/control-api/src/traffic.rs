//! Traffic, slots and errors of the data path, as `GET /v2/status` shows them.

use pool_registry_types::NodeId;
use serde::Serialize;

/// Numbers of slots, as the data path counts them now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SlotCounts {
    /// All of them.
    pub total: u64,
    /// Slots that a request could take now.
    pub free: u64,
}

/// The traffic of the last seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TrafficAnswer {
    /// The length of the window, in milliseconds.
    pub window_ms: u64,
    /// Requests that ended, in a second.
    pub requests_per_s: f64,
    /// Valid requests that failed, in a second.
    pub errors_per_s: f64,
    /// Generated tokens in a second. Events of a stream count as tokens until the engine reports
    /// its count.
    pub tokens_per_s: f64,
    /// Time from a request to the first event of its stream, in milliseconds.
    pub first_token_ms: PercentilesAnswer,
    /// Time between two events of a stream, in milliseconds.
    pub inter_token_ms: PercentilesAnswer,
    /// Time in the queue, of requests that got a slot, in milliseconds.
    pub queue_ms: PercentilesAnswer,
}

/// Three percentiles; `null` without a sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PercentilesAnswer {
    /// Half of the samples are at most this.
    pub p50: Option<f64>,
    /// 90 % are at most this.
    pub p90: Option<f64>,
    /// 99 % are at most this.
    pub p99: Option<f64>,
}

/// A request that failed, or whose answer broke off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecentErrorAnswer {
    /// The time (RFC 3339, UTC, milliseconds).
    pub at: String,
    /// Its request id.
    pub request_id: String,
    /// The error code.
    #[cfg_attr(feature = "openapi", schema(value_type = pool_registry_types::ErrorCode))]
    pub code: &'static str,
    /// The message that its client got.
    pub message: String,
    /// Its model; `null` when that is unknown.
    pub model: Option<String>,
    /// The node that it was sent to last; `null` when it was sent to none.
    pub node_id: Option<NodeId>,
}
