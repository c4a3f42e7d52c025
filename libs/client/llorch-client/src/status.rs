//! `GET /v2/status` and the events of the fleet. Fields that a server does not send have their
//! empty value, so that client and server can be upgraded separately.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use serde::Deserialize;

/// The fleet at a glance.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Of the control plane.
    pub version: String,
    /// `home` or `cloud`.
    pub profile: String,
    /// Since the control plane started, in milliseconds.
    pub uptime_ms: u64,
    /// Nodes by where they stand.
    pub nodes: NodeCounts,
    /// Slots of all endpoints that serve.
    pub slots: SlotCounts,
    /// Every model, sorted by name.
    pub models: Vec<ModelLoad>,
    /// What went through lately.
    pub traffic: Traffic,
    /// The last errors, the newest first or last as the server has them.
    pub recent_errors: Vec<RecentError>,
}

/// Nodes by where they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
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
    /// All nodes that are known.
    #[must_use]
    pub fn all(&self) -> u64 {
        let others = [self.draining, self.unreachable, self.offline];
        // A server may say anything.
        others
            .iter()
            .fold(self.online, |sum, count| sum.saturating_add(*count))
    }
}

/// Slots of all endpoints that serve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SlotCounts {
    /// All.
    pub total: u64,
    /// Those nobody uses.
    pub free: u64,
}

/// How busy one model is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ModelLoad {
    /// Its name.
    pub model: String,
    /// Endpoints that serve it.
    pub endpoints: u64,
    /// Their slots.
    pub slots_total: u64,
    /// Those nobody uses.
    pub slots_free: u64,
    /// Requests that run.
    pub running: u64,
    /// Interactive requests in line.
    pub queued_interactive: u64,
    /// Batch requests in line.
    pub queued_batch: u64,
}

/// What went through lately.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// How long "lately" is, in milliseconds.
    pub window_ms: u64,
    /// Requests per second.
    pub requests_per_s: f64,
    /// Failed ones per second.
    pub errors_per_s: f64,
    /// Tokens per second.
    pub tokens_per_s: f64,
    /// Milliseconds from a request to its first token.
    pub first_token_ms: Percentiles,
    /// Milliseconds between two tokens.
    pub inter_token_ms: Percentiles,
    /// Milliseconds in line.
    pub queue_ms: Percentiles,
}

/// Percentiles; `None` when nothing was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Percentiles {
    /// The median.
    pub p50: Option<f64>,
    /// Nine of ten are below.
    pub p90: Option<f64>,
    /// Ninety-nine of a hundred are below.
    pub p99: Option<f64>,
}

/// A request that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RecentError {
    /// When, RFC 3339.
    pub at: String,
    /// Its name in every log.
    pub request_id: Option<String>,
    /// What went wrong, in a word.
    pub code: String,
    /// The same for people.
    pub message: String,
    /// The model it was about.
    pub model: Option<String>,
    /// The node it was on.
    pub node_id: Option<String>,
}

/// Something that happened in the fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FleetEvent {
    /// When, RFC 3339.
    pub at: String,
    /// What, in a word.
    pub kind: String,
    /// The node.
    pub node_id: Option<String>,
    /// The pool.
    pub pool_id: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// For people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_status() {
        let status: Status = serde_json::from_value(serde_json::json!({
            "version":"0.1.0","profile":"cloud","uptime_ms":1000,"now":"2026-01-01T00:00:00Z",
            "nodes":{"online":2,"draining":1,"unreachable":0,"offline":0},"slots":{"total":8,"free":5},
            "models":[{"model":"tiny","endpoints":2,"slots_total":8,"slots_free":5,"running":3,
                       "queued_interactive":1,"queued_batch":0}],
            "traffic":{"window_ms":10000,"requests_per_s":1.5,"errors_per_s":0,"tokens_per_s":30.5,
                       "first_token_ms":{"p50":1.5,"p90":2,"p99":3},
                       "inter_token_ms":{"p50":null,"p90":null,"p99":null},"queue_ms":{"p50":0,"p90":0,"p99":0}},
            "recent_errors":[{"at":"t","request_id":"r","code":"QUEUE_FULL","message":"m","model":"tiny","node_id":null}],
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
