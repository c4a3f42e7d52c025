//! Registration: how a node joins.

use serde::{Deserialize, Serialize};

use crate::{
    BootId, Gpu, HttpUrl, MachineId, NodeId, PoolId,
    invalid::{InvalidField, check_count, check_unique, fitted},
    limits::{MAX_GPUS, MAX_POOLS},
    replica::is_false,
    text::Text,
};

/// `POST /v2/nodes/register`: a node joins, or updates its registration. Idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "UnvalidatedRegister")]
#[non_exhaustive]
pub struct RegisterRequest {
    /// The node that joins.
    pub node_id: NodeId,
    /// The machine it runs on.
    pub machine_id: MachineId,
    /// Where the control plane reaches the node.
    pub address: HttpUrl,
    /// The pools it expects to have; the heartbeat reports their state.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 256))]
    pub pools: Vec<PoolId>,
    /// Its hardware.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// The agent's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Text>,
    /// Rises at each start of the agent (its start time in milliseconds since 1970), so that
    /// messages of an earlier incarnation are recognised. Absent: no fencing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<u64>,
    /// Names this start of the machine. Two machines with the same name, such as clones of one
    /// image, differ in it. Absent: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<BootId>,
    /// Where Prometheus reaches `/metrics` without a token. Absent: at `address`, with the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_address: Option<HttpUrl>,
    /// It accepts a hint which replica of a pool to use, and reports the replica that it used. Each
    /// of its replicas is then an endpoint of its own; otherwise each of its pools is one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub takes_replica_hint: bool,
}

impl RegisterRequest {
    /// A registration with the required fields.
    #[must_use]
    pub fn new(node_id: NodeId, machine_id: MachineId, address: HttpUrl) -> Self {
        Self {
            node_id,
            machine_id,
            address,
            pools: Vec::new(),
            capabilities: Capabilities::default(),
            version: None,
            incarnation: None,
            boot_id: None,
            metrics_address: None,
            takes_replica_hint: false,
        }
    }

    /// Cuts lists that a control plane would refuse. Of several GPUs with one id the first stays.
    pub fn bound(&mut self) {
        self.pools.truncate(MAX_POOLS);
        let gpus = &mut self.capabilities.gpus;
        let mut seen = std::collections::BTreeSet::new();
        gpus.retain(|gpu| seen.insert(gpu.device_id));
        gpus.truncate(MAX_GPUS);
    }
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
    version: Option<Text>,
    incarnation: Option<u64>,
    boot_id: Option<BootId>,
    metrics_address: Option<HttpUrl>,
    #[serde(default)]
    takes_replica_hint: bool,
}

impl TryFrom<UnvalidatedRegister> for RegisterRequest {
    type Error = InvalidField;

    fn try_from(raw: UnvalidatedRegister) -> Result<Self, InvalidField> {
        check_count("pools", raw.pools.len(), MAX_POOLS)?;
        let UnvalidatedRegister {
            node_id,
            machine_id,
            address,
            pools,
            capabilities,
            version,
            incarnation,
            boot_id,
            metrics_address,
            takes_replica_hint,
        } = raw;
        Ok(Self {
            node_id,
            machine_id,
            address,
            pools: fitted(pools),
            capabilities,
            version,
            incarnation,
            boot_id,
            metrics_address,
            takes_replica_hint,
        })
    }
}

/// A node's hardware.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "UnvalidatedCapabilities")]
#[non_exhaustive]
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

impl Capabilities {
    /// The hardware of a node.
    #[must_use]
    pub fn new(gpus: Vec<Gpu>, cpu_cores: u32, ram_total_bytes: u64) -> Self {
        Self {
            gpus,
            cpu_cores,
            ram_total_bytes,
        }
    }
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
    type Error = InvalidField;

    fn try_from(raw: UnvalidatedCapabilities) -> Result<Self, InvalidField> {
        check_count("gpus", raw.gpus.len(), MAX_GPUS)?;
        check_unique(
            "gpus",
            "device_id",
            raw.gpus.iter().map(|gpu| gpu.device_id),
        )?;
        Ok(Self {
            gpus: fitted(raw.gpus),
            cpu_cores: raw.cpu_cores,
            ram_total_bytes: raw.ram_total_bytes,
        })
    }
}

/// The response to a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct RegisterResponse {
    /// Always true: a refusal is an error envelope.
    pub success: bool,
    /// For people.
    pub message: String,
    /// The registered node.
    pub node_id: NodeId,
    /// When the next heartbeat is due, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_heartbeat_ms: Option<u64>,
    /// After how much silence the node counts as offline, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl RegisterResponse {
    /// The node is registered.
    #[must_use]
    pub fn new(node_id: NodeId, message: String) -> Self {
        Self {
            success: true,
            message,
            node_id,
            next_heartbeat_ms: None,
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

    // spec: WIRE-2
    #[test]
    fn the_documented_registration() {
        let long = serde_json::json!({
            "node_id": "gpu-node-1", "machine_id": "machine-alpha",
            "address": "http://192.168.1.100:9200", "pools": ["pool-0"],
            "capabilities": {
                "gpus": [{
                    "device_id": 0, "name": "RTX 3090", "vram_total_bytes": 24_000_000_000_u64,
                    "compute_capability": "8.6",
                }],
                "cpu_cores": 16, "ram_total_bytes": 64_000_000_000_u64,
            },
            "version": "0.1.0", "incarnation": 1_763_884_800_123_u64,
            "metrics_address": "http://192.168.1.100:9201",
        });
        let request: RegisterRequest = parse(&long).unwrap();
        assert_eq!(serde_json::to_value(&request).unwrap(), long);
        let short = serde_json::json!({"node_id":"n","machine_id":"m","address":"http://h:1"});
        let short: RegisterRequest = parse(&short).unwrap();
        assert_eq!((short.incarnation, short.metrics_address), (None, None));
    }

    // spec: WIRE-42
    #[test]
    fn a_registration_names_each_gpu_once() {
        let gpu = serde_json::json!({"device_id": 3, "name": "g", "vram_total_bytes": 1});
        let twice = serde_json::json!({"gpus": [gpu, gpu], "cpu_cores": 1, "ram_total_bytes": 1});
        let error = parse::<Capabilities>(&twice).unwrap_err();
        assert!(
            error.contains("gpus must name each device_id once, not 3 twice"),
            "{error}"
        );
    }
}
