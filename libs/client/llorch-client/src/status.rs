//! `GET /v2/status` and the events of the fleet. A field that the server does not send has its
//! default, so that client and server can be upgraded separately.

// The server chooses the numbers: arithmetic on them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use serde::Deserialize;

/// The state of the whole fleet.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Status {
    /// The version of the control plane.
    pub version: String,
    /// `home` or `cloud`.
    pub profile: String,
    /// The time since the control plane started, in milliseconds.
    pub uptime_ms: u64,
    /// Nodes by state.
    pub nodes: NodeCounts,
    /// Slots of all ready endpoints.
    pub slots: SlotCounts,
    /// Every model, sorted by name.
    pub models: Vec<ModelLoad>,
    /// Recent traffic.
    pub traffic: Traffic,
    /// Recent errors in the order of the server.
    pub recent_errors: Vec<RecentError>,
}

/// Nodes by state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct NodeCounts {
    /// Online.
    pub online: u64,
    /// Draining.
    pub draining: u64,
    /// Unreachable.
    pub unreachable: u64,
    /// Offline.
    pub offline: u64,
}

impl NodeCounts {
    /// The number of all known nodes.
    #[must_use]
    pub fn all(&self) -> u64 {
        let others = [self.draining, self.unreachable, self.offline];
        others
            .iter()
            .fold(self.online, |sum, count| sum.saturating_add(*count))
    }
}

/// Slots of all ready endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SlotCounts {
    /// All slots.
    pub total: u64,
    /// Free slots.
    pub free: u64,
}

/// The load of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ModelLoad {
    /// Its name.
    pub model: String,
    /// Ready endpoints.
    pub endpoints: u64,
    /// All slots.
    pub slots_total: u64,
    /// Free slots.
    pub slots_free: u64,
    /// Running requests.
    pub running: u64,
    /// Interactive requests in the queue.
    pub queued_interactive: u64,
    /// Batch requests in the queue.
    pub queued_batch: u64,
}

/// Recent traffic.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Traffic {
    /// The window of the figures, in milliseconds.
    pub window_ms: u64,
    /// Requests per second.
    pub requests_per_s: f64,
    /// Failed requests per second.
    pub errors_per_s: f64,
    /// Tokens per second.
    pub tokens_per_s: f64,
    /// Milliseconds from a request to its first token.
    pub first_token_ms: Percentiles,
    /// Milliseconds between two tokens.
    pub inter_token_ms: Percentiles,
    /// Milliseconds in the queue.
    pub queue_ms: Percentiles,
}

/// Percentiles; `None` without a sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Percentiles {
    /// The median.
    pub p50: Option<f64>,
    /// The 90th percentile.
    pub p90: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
}

/// A request that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RecentError {
    /// When, RFC 3339.
    pub at: String,
    /// The id of the request in all logs.
    pub request_id: Option<String>,
    /// The error code.
    pub code: String,
    /// The message for people.
    pub message: String,
    /// The model.
    pub model: Option<String>,
    /// The node.
    pub node_id: Option<String>,
}

/// An event of the fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FleetEvent {
    /// When, RFC 3339.
    pub at: String,
    /// The kind of event.
    pub kind: String,
    /// The node.
    pub node_id: Option<String>,
    /// The pool.
    pub pool_id: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The message for people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_status() {
        let none = serde_json::json!({"p50":null,"p90":null,"p99":null});
        let status: Status = serde_json::from_value(serde_json::json!({
            "version":"0.1.0","profile":"cloud","uptime_ms":1000,"now":"2026-01-01T00:00:00Z",
            "nodes":{"online":2,"draining":1,"unreachable":0,"offline":0},
            "slots":{"total":8,"free":5},
            "models":[{
                "model":"tiny","endpoints":2,"slots_total":8,"slots_free":5,"running":3,
                "queued_interactive":1,"queued_batch":0,
            }],
            "traffic":{
                "window_ms":10000,"requests_per_s":1.5,"errors_per_s":0,"tokens_per_s":30.5,
                "first_token_ms":{"p50":1.5,"p90":2,"p99":3},"inter_token_ms":none,
                "queue_ms":{"p50":0,"p90":0,"p99":0},
            },
            "recent_errors":[{
                "at":"t","request_id":"r","code":"QUEUE_FULL","message":"m","model":"tiny",
                "node_id":null,
            }],
        }))
        .unwrap();
        assert_eq!((status.nodes.online, status.slots.free), (2, 5));
        assert_eq!(status.traffic.first_token_ms.p90, Some(2.0));
        assert_eq!(status.traffic.inter_token_ms, Percentiles::default());
        assert_eq!(status.models[0].queued_interactive, 1);
    }

    #[test]
    fn a_server_of_another_version_is_understood() {
        assert_eq!(
            serde_json::from_str::<Status>(r#"{"later":1}"#).unwrap(),
            Status::default()
        );
    }
}
