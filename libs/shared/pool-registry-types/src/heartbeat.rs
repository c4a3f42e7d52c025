//! Heartbeats: how a node reports.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    GpuStatus, PoolStatus, RefusedHandoff,
    invalid::{InvalidField, check_count, check_unique, fitted},
    limits::{MAX_GPUS, MAX_POOLS, MAX_REFUSED_HANDOFFS},
    text::Text,
};

/// `POST /v2/nodes/{id}/heartbeat`: the full state of a node, every time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "UnvalidatedHeartbeat")]
#[non_exhaustive]
pub struct HeartbeatRequest {
    /// When the node wrote it, RFC 3339; for people and for clock skew, never for liveness.
    pub timestamp: Text,
    /// All its pools.
    #[cfg_attr(feature = "openapi", schema(max_items = 256))]
    pub pools: Vec<PoolStatus>,
    /// As registered; see [`RegisterRequest::incarnation`](crate::RegisterRequest::incarnation).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// Rises with each heartbeat of one incarnation, so that a late one changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The current state of its GPUs, in index order; absent when the node does not look at them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_items = 64))]
    pub gpus: Option<Vec<GpuStatus>>,
    /// The handoff files that it refuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 32))]
    pub refused_handoffs: Vec<RefusedHandoff>,
}

impl HeartbeatRequest {
    /// A heartbeat with the required fields.
    #[must_use]
    pub fn new(timestamp: Text, pools: Vec<PoolStatus>) -> Self {
        Self {
            timestamp,
            pools,
            incarnation: None,
            seq: None,
            gpus: None,
            refused_handoffs: Vec::new(),
        }
    }

    /// Cuts lists that a control plane would refuse. Of several entries with one id the first
    /// stays.
    ///
    /// The message may still be larger than
    /// [`MAX_NODE_BODY_BYTES`](crate::limits::MAX_NODE_BODY_BYTES).
    pub fn bound(&mut self) {
        let mut seen = BTreeSet::new();
        self.pools.retain(|pool| seen.insert(pool.pool_id.clone()));
        self.pools.truncate(MAX_POOLS);
        self.pools.iter_mut().for_each(PoolStatus::bound);
        if let Some(gpus) = &mut self.gpus {
            let mut seen = BTreeSet::new();
            gpus.retain(|gpu| seen.insert(gpu.device_id));
            gpus.truncate(MAX_GPUS);
        }
        self.refused_handoffs.truncate(MAX_REFUSED_HANDOFFS);
    }
}

#[derive(Deserialize)]
struct UnvalidatedHeartbeat {
    timestamp: Text,
    pools: Vec<PoolStatus>,
    incarnation: Option<u64>,
    seq: Option<u64>,
    gpus: Option<Vec<GpuStatus>>,
    #[serde(default)]
    refused_handoffs: Vec<RefusedHandoff>,
}

impl TryFrom<UnvalidatedHeartbeat> for HeartbeatRequest {
    type Error = InvalidField;

    fn try_from(raw: UnvalidatedHeartbeat) -> Result<Self, InvalidField> {
        let gpus = raw.gpus.as_deref().unwrap_or_default();
        check_count("gpus", gpus.len(), MAX_GPUS)?;
        check_unique("gpus", "device_id", gpus.iter().map(|gpu| gpu.device_id))?;
        check_count("pools", raw.pools.len(), MAX_POOLS)?;
        check_unique("pools", "pool", raw.pools.iter().map(|pool| &pool.pool_id))?;
        let refused = raw.refused_handoffs.len();
        check_count("refused_handoffs", refused, MAX_REFUSED_HANDOFFS)?;
        let UnvalidatedHeartbeat {
            timestamp,
            pools,
            incarnation,
            seq,
            gpus,
            refused_handoffs,
        } = raw;
        Ok(Self {
            timestamp,
            pools: fitted(pools),
            incarnation,
            seq,
            gpus: gpus.map(fitted),
            refused_handoffs: fitted(refused_handoffs),
        })
    }
}

/// The response to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct HeartbeatResponse {
    /// Always true: a refusal is an error envelope.
    pub success: bool,
    /// When the next heartbeat is due, in milliseconds.
    pub next_heartbeat_ms: u64,
    /// After how much silence the node counts as offline from now on, in milliseconds. Absent: as
    /// when it registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl HeartbeatResponse {
    /// The heartbeat is accepted.
    #[must_use]
    pub fn new(next_heartbeat_ms: u64) -> Self {
        Self {
            success: true,
            next_heartbeat_ms,
            timeout_ms: None,
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    fn parse<T: serde::de::DeserializeOwned>(value: &serde_json::Value) -> Result<T, String> {
        serde_path_to_error::deserialize(value).map_err(|error| error.to_string())
    }

    // spec: CLOUD-3012, WIRE-2
    #[test]
    fn the_documented_heartbeat() {
        let long = serde_json::json!({
            "timestamp":"2025-09-30T22:00:00Z",
            "pools":[{"pool_id":"pool-0","ready":true,"draining":false,"slots_free":3,"slots_total":4,
                      "vram_free_bytes":18_000_000_000_u64,"engine":"llamacpp"}],
            "incarnation":1_763_884_800_123_u64,"seq":42,
        });
        let request: HeartbeatRequest = parse(&long).unwrap();
        assert_eq!(serde_json::to_value(&request).unwrap(), long);
    }

    // spec: WIRE-2, WIRE-4, WIRE-42
    #[test]
    fn a_heartbeat_may_report_gpus() {
        let beat =
            |gpus: serde_json::Value| serde_json::json!({"timestamp":"t","pools":[],"gpus":gpus});
        let long = beat(serde_json::json!([
            {
                "device_id": 0, "name": "RTX 3090", "uuid": "GPU-1",
                "driver_version": "580.99.01", "compute_capability": "8.6",
                "vram_total_bytes": 24_000_000_000_u64, "vram_used_bytes": 6_000_000_000_u64,
                "vram_free_bytes": 18_000_000_000_u64,
                "utilization_percent": 42, "temperature_celsius": 55, "power_watts": 250,
            },
            {"device_id":1,"name":"RTX 3090","problem":"it needs a reset"},
        ]));
        let request: HeartbeatRequest = parse(&long).unwrap();
        assert_eq!(serde_json::to_value(&request).unwrap(), long);
        for (bad, expected) in [
            (
                serde_json::json!([{"device_id":0}]),
                "gpus[0]: missing field `name`",
            ),
            (
                serde_json::json!([{"device_id":0,"name":"x"},{"device_id":"1","name":"x"}]),
                "gpus[1].device_id",
            ),
            (
                serde_json::json!([{"device_id":0,"name":"a","vram_free_bytes":-1}]),
                "gpus[0].vram_free_bytes",
            ),
            (
                serde_json::Value::from(vec![serde_json::json!({"device_id":0,"name":"a"}); 65]),
                "gpus must have at most 64 entries, not 65",
            ),
            (
                serde_json::Value::from(vec![serde_json::json!({"device_id":7,"name":"a"}); 2]),
                "gpus must name each device_id once, not 7 twice",
            ),
        ] {
            let error = parse::<HeartbeatRequest>(&beat(bad)).unwrap_err();
            assert!(
                error.contains(expected),
                "expected {expected:?} in {error:?}"
            );
        }
    }

    // spec: WIRE-4, WIRE-42
    #[test]
    fn an_error_names_the_path_of_the_field() {
        let pool = serde_json::json!({
            "pool_id": "pool-0", "ready": true, "draining": false,
            "slots_free": 3, "slots_total": 4,
        });
        let replica = serde_json::json!({
            "replica_id": "r0", "ready": true, "slots_free": 0, "slots_total": 0,
        });
        let beat = |pools: &[serde_json::Value]| serde_json::json!({"timestamp":"t","pools":pools});
        let with = |field: &str, value: serde_json::Value| {
            let mut bad = pool.clone();
            bad[field] = value;
            bad
        };
        for (bad, expected) in [
            (
                beat(&[pool.clone(), with("slots_free", serde_json::json!("x"))]),
                "pools[1].slots_free",
            ),
            (
                beat(&[with("slots_free", serde_json::json!(5))]),
                "pools[0]: slots_free must be at most slots_total (4), not 5",
            ),
            (
                beat(&[with("slots_total", serde_json::json!(1_000_000))]),
                "slots_total must be at most",
            ),
            (
                beat(&[with("pool_id", serde_json::json!("a b"))]),
                "pool_id must be",
            ),
            (
                beat(&[with("ready", serde_json::json!(1))]),
                "pools[0].ready",
            ),
            (
                beat(&[pool.clone(), pool.clone()]),
                "pools must name each pool once, not pool-0 twice",
            ),
            (
                beat(&[with("replicas", serde_json::json!([replica, replica]))]),
                "pools[0]: replicas must name each replica_id once, not r0 twice",
            ),
            (serde_json::json!({"pools":[]}), "timestamp"),
            (serde_json::json!({"timestamp":"t"}), "pools"),
        ] {
            let error = parse::<HeartbeatRequest>(&bad).unwrap_err();
            assert!(
                error.contains(expected),
                "expected {expected:?} in {error:?}"
            );
        }
    }

    // spec: WIRE-7
    #[test]
    fn an_endless_error_text_is_shortened_not_refused() {
        let beat = serde_json::json!({"timestamp": "t", "pools": [{
            "pool_id": "p", "ready": false, "draining": false,
            "slots_free": 0, "slots_total": 0, "last_error": "ü".repeat(100_000),
        }]});
        let beat: HeartbeatRequest = parse(&beat).unwrap();
        assert_eq!(beat.pools[0].last_error.as_ref().unwrap().len(), 8192);
    }
}
