//! Register and heartbeat: how a node joins and stays.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Gpu, GpuStatus, HttpUrl, MachineId, NodeId, PoolId, PoolStatus,
    limits::{MAX_GPUS, MAX_POOLS},
    pool::{Invalid, check_count, fitted, is_false},
    text::{clean, clean_some},
};

/// `POST /v2/nodes/register`: a node joins, or says anew who it is. Idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "UnvalidatedRegister")]
pub struct RegisterRequest {
    /// Who joins.
    pub node_id: NodeId,
    /// The machine it runs on.
    pub machine_id: MachineId,
    /// Where the control plane reaches the node.
    pub address: HttpUrl,
    /// The pools it expects to have; the heartbeat tells their state.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 256))]
    pub pools: Vec<PoolId>,
    /// Its hardware.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// The agent's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::schema::Text>))]
    pub version: Option<String>,
    /// Rises at each start of the agent (its start time in milliseconds since 1970), so that
    /// messages of an earlier life are told apart. Absent: no fencing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// Where `/metrics` is served without a token, as Prometheus reaches it. Absent: at `address`
    /// only, for who has the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_address: Option<HttpUrl>,
    /// It takes a hint which replica of a pool to use, and says which one it used. Each of its
    /// replicas is then an endpoint of its own; otherwise each of its pools is one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub takes_replica_hint: bool,
}

#[derive(Deserialize)]
struct UnvalidatedRegister {
    node_id: NodeId,
    machine_id: MachineId,
    address: HttpUrl,
    #[serde(default)]
    pools: Vec<PoolId>,
    #[serde(default)]
    capabilities: Capabilities,
    version: Option<String>,
    incarnation: Option<u64>,
    metrics_address: Option<HttpUrl>,
    #[serde(default)]
    takes_replica_hint: bool,
}

impl TryFrom<UnvalidatedRegister> for RegisterRequest {
    type Error = Invalid;

    fn try_from(raw: UnvalidatedRegister) -> Result<Self, Invalid> {
        check_count("pools", raw.pools.len(), MAX_POOLS)?;
        let UnvalidatedRegister {
            node_id,
            machine_id,
            address,
            pools,
            capabilities,
            mut version,
            incarnation,
            metrics_address,
            takes_replica_hint,
        } = raw;
        clean_some(&mut version);
        Ok(Self {
            node_id,
            machine_id,
            address,
            pools: fitted(pools),
            capabilities,
            version,
            incarnation,
            metrics_address,
            takes_replica_hint,
        })
    }
}

impl RegisterRequest {
    /// Makes it one that every control plane takes: lists and texts are cut.
    pub fn bound(&mut self) {
        self.pools.truncate(MAX_POOLS);
        clean_some(&mut self.version);
        self.capabilities.gpus.truncate(MAX_GPUS);
        self.capabilities.gpus.iter_mut().for_each(Gpu::clean_texts);
    }
}

/// A node's hardware.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "UnvalidatedCapabilities")]
pub struct Capabilities {
    /// Its GPUs, in index order.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 64))]
    pub gpus: Vec<Gpu>,
    /// CPU cores the agent may use.
    #[serde(default)]
    pub cpu_cores: u32,
    /// Memory of the machine in bytes.
    #[serde(default)]
    pub ram_total_bytes: u64,
}

#[derive(Deserialize)]
struct UnvalidatedCapabilities {
    #[serde(default)]
    gpus: Vec<Gpu>,
    #[serde(default)]
    cpu_cores: u32,
    #[serde(default)]
    ram_total_bytes: u64,
}

impl TryFrom<UnvalidatedCapabilities> for Capabilities {
    type Error = Invalid;

    fn try_from(raw: UnvalidatedCapabilities) -> Result<Self, Invalid> {
        check_count("gpus", raw.gpus.len(), MAX_GPUS)?;
        Ok(Self {
            gpus: fitted(raw.gpus),
            cpu_cores: raw.cpu_cores,
            ram_total_bytes: raw.ram_total_bytes,
        })
    }
}

/// The answer to a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisterResponse {
    /// Always true: a refusal is an error envelope.
    pub success: bool,
    /// For people.
    pub message: String,
    /// Who was registered.
    pub node_id: NodeId,
    /// When the next heartbeat is due, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_heartbeat_ms: Option<u64>,
    /// After how much silence the node counts as offline, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// `POST /v2/nodes/{id}/heartbeat`: the full state of a node, every time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "UnvalidatedHeartbeat")]
pub struct HeartbeatRequest {
    /// When the node wrote it, RFC 3339; for people and for clock skew, never for liveness.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::schema::Text))]
    pub timestamp: String,
    /// All its pools.
    #[cfg_attr(feature = "openapi", schema(max_items = 256))]
    pub pools: Vec<PoolStatus>,
    /// As registered; see [`RegisterRequest::incarnation`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// Rises with each heartbeat of one incarnation, so that a late one changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Its GPUs as they are, in index order; absent when the node does not look at them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_items = 64))]
    pub gpus: Option<Vec<GpuStatus>>,
}

#[derive(Deserialize)]
struct UnvalidatedHeartbeat {
    timestamp: String,
    pools: Vec<PoolStatus>,
    incarnation: Option<u64>,
    seq: Option<u64>,
    gpus: Option<Vec<GpuStatus>>,
}

impl TryFrom<UnvalidatedHeartbeat> for HeartbeatRequest {
    type Error = Invalid;

    fn try_from(raw: UnvalidatedHeartbeat) -> Result<Self, Invalid> {
        check_count("gpus", raw.gpus.as_ref().map_or(0, Vec::len), MAX_GPUS)?;
        check_count("pools", raw.pools.len(), MAX_POOLS)?;
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = raw.pools.iter().find(|pool| !seen.insert(&pool.pool_id)) {
            return Err(Invalid::new(
                "pools",
                format!("must name each pool once, not {} twice", twice.pool_id),
            ));
        }
        let UnvalidatedHeartbeat {
            mut timestamp,
            pools,
            incarnation,
            seq,
            gpus,
        } = raw;
        clean(&mut timestamp);
        Ok(Self {
            timestamp,
            pools: fitted(pools),
            incarnation,
            seq,
            gpus: gpus.map(fitted),
        })
    }
}

impl HeartbeatRequest {
    /// Makes it one that every control plane takes: lists and texts are cut, impossible names of
    /// models left out, and of two pools of one name the first stays.
    ///
    /// It may still be larger than [`MAX_NODE_BODY_BYTES`](crate::limits::MAX_NODE_BODY_BYTES).
    pub fn bound(&mut self) {
        clean(&mut self.timestamp);
        let mut seen = std::collections::BTreeSet::new();
        self.pools.retain(|pool| seen.insert(pool.pool_id.clone()));
        self.pools.truncate(MAX_POOLS);
        self.pools.iter_mut().for_each(PoolStatus::bound);
        if let Some(gpus) = &mut self.gpus {
            gpus.truncate(MAX_GPUS);
            gpus.iter_mut().for_each(GpuStatus::clean_texts);
        }
    }
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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

/// An answer that says only that it worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ack {
    /// Always true: a refusal is an error envelope.
    pub success: bool,
}

/// The body of a drain; it may be left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DrainRequest {
    /// How long running requests may take to finish, in milliseconds from now; absent: as long as
    /// they like.
    pub deadline_ms: Option<u64>,
}

/// Where a node stands, as the control plane sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum NodeStatus {
    /// It reports and can be reached.
    Online,
    /// It takes no new work, because it or an operator said so; running requests finish.
    Draining,
    /// It reported lately, but cannot be reached now.
    Unreachable,
    /// It has been silent for the whole timeout.
    Offline,
}

impl NodeStatus {
    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Draining => "draining",
            Self::Unreachable => "unreachable",
            Self::Offline => "offline",
        }
    }
}

impl fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<T: serde::de::DeserializeOwned>(value: &serde_json::Value) -> Result<T, String> {
        serde_path_to_error::deserialize(value).map_err(|error| error.to_string())
    }

    // spec: WIRE-2
    #[test]
    fn the_documented_registration() {
        let long = serde_json::json!({
            "node_id":"gpu-node-1","machine_id":"machine-alpha","address":"http://192.168.1.100:9200","pools":["pool-0"],
            "capabilities":{"gpus":[{"device_id":0,"name":"RTX 3090","vram_total_bytes":24_000_000_000_u64,"compute_capability":"8.6"}],
                            "cpu_cores":16,"ram_total_bytes":64_000_000_000_u64},
            "version":"0.1.0","incarnation":1_763_884_800_123_u64,"metrics_address":"http://192.168.1.100:9201",
        });
        let request: RegisterRequest = parse(&long).unwrap();
        assert_eq!(serde_json::to_value(&request).unwrap(), long);
        let short = serde_json::json!({"node_id":"n","machine_id":"m","address":"http://h:1"});
        let short: RegisterRequest = parse(&short).unwrap();
        assert_eq!((short.incarnation, short.metrics_address), (None, None));
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

    // spec: WIRE-2, WIRE-4
    #[test]
    fn a_heartbeat_may_tell_of_gpus() {
        let beat =
            |gpus: serde_json::Value| serde_json::json!({"timestamp":"t","pools":[],"gpus":gpus});
        let long = beat(serde_json::json!([
            {"device_id":0,"name":"RTX 3090","uuid":"GPU-1","driver_version":"580.99.01","compute_capability":"8.6",
             "vram_total_bytes":24_000_000_000_u64,"vram_used_bytes":6_000_000_000_u64,"vram_free_bytes":18_000_000_000_u64,
             "utilization_percent":42,"temperature_celsius":55,"power_watts":250},
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
        ] {
            let error = parse::<HeartbeatRequest>(&beat(bad)).unwrap_err();
            assert!(
                error.contains(expected),
                "expected {expected:?} in {error:?}"
            );
        }
    }

    // spec: WIRE-4
    #[test]
    fn a_bad_pool_is_found_by_its_path() {
        let pool = serde_json::json!({"pool_id":"pool-0","ready":true,"draining":false,"slots_free":3,"slots_total":4});
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
                "must name each pool once",
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
        let beat = serde_json::json!({"timestamp":"t","pools":[{"pool_id":"p","ready":false,"draining":false,
            "slots_free":0,"slots_total":0,"last_error":"ü".repeat(100_000)}]});
        let beat: HeartbeatRequest = parse(&beat).unwrap();
        assert_eq!(beat.pools[0].last_error.as_ref().unwrap().len(), 8192);
    }
}
