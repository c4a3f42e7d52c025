//! What a node says about each of its pools in every heartbeat.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    EngineKind, PoolId, ReplicaId,
    id::echo,
    limits::{MAX_ERROR_BYTES, MAX_MODEL_NAME_BYTES, MAX_MODELS, MAX_REPLICAS, MAX_SLOTS, MAX_TEXT_BYTES},
};

/// A field whose value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field} {reason}")]
pub struct Invalid {
    field: &'static str,
    reason: String,
}

impl Invalid {
    pub(crate) fn new(field: &'static str, reason: String) -> Self {
        Self { field, reason }
    }
}

pub(crate) fn check_text(field: &'static str, value: Option<&str>) -> Result<(), Invalid> {
    match value {
        Some(text) if text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) => Err(Invalid::new(
            field,
            format!(
                "must be at most {MAX_TEXT_BYTES} bytes without control characters, not {}",
                echo(text)
            ),
        )),
        _ => Ok(()),
    }
}

pub(crate) fn check_models(field: &'static str, models: Option<&[String]>) -> Result<(), Invalid> {
    let Some(models) = models else { return Ok(()) };
    if models.len() > MAX_MODELS {
        return Err(Invalid::new(
            field,
            format!("must name at most {MAX_MODELS} models, not {}", models.len()),
        ));
    }
    match models.iter().find(|name| {
        name.is_empty() || name.len() > MAX_MODEL_NAME_BYTES || name.chars().any(char::is_control)
    }) {
        Some(bad) => Err(Invalid::new(
            field,
            format!(
                "must be names of 1 to {MAX_MODEL_NAME_BYTES} bytes without control characters, not {}",
                echo(bad)
            ),
        )),
        None => Ok(()),
    }
}

fn check_slots(free: u32, total: u32) -> Result<(), Invalid> {
    if total > MAX_SLOTS {
        return Err(Invalid::new(
            "slots_total",
            format!("must be at most {MAX_SLOTS}, not {total}"),
        ));
    }
    if free > total {
        return Err(Invalid::new(
            "slots_free",
            format!("must be at most slots_total ({total}), not {free}"),
        ));
    }
    Ok(())
}

/// One pool as its node sees it: the full state, every time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "UnvalidatedPool")]
pub struct PoolStatus {
    /// Which pool.
    pub pool_id: PoolId,
    /// At least one replica takes requests.
    pub ready: bool,
    /// Takes no new requests; running ones finish.
    pub draining: bool,
    /// Slots that a request could take now, over all ready replicas.
    #[cfg_attr(feature = "openapi", schema(maximum = 65536))]
    pub slots_free: u32,
    /// Slots of all ready replicas, and those that running requests still hold of others.
    #[cfg_attr(feature = "openapi", schema(maximum = 65536))]
    pub slots_total: u32,
    /// Free memory of the pool's devices in bytes; 0 when unknown.
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub vram_free_bytes: u64,
    /// The engine of its replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineKind>,
    /// The engine's version, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::schema::Text>))]
    pub engine_version: Option<String>,
    /// The models its replicas serve; absent while nobody has said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<crate::schema::ModelName>>, max_items = 1024))]
    pub models_available: Option<Vec<String>>,
    /// Its engines one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Vec<ReplicaStatus>>,
    /// Why it is not ready, for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The devices it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::schema::Text>))]
    pub device_mask: Option<String>,
    /// None of its engines runs, and the first request starts one: its slots are promised.
    #[serde(skip_serializing_if = "is_false")]
    pub sleeping: bool,
}

/// One engine of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "UnvalidatedReplica")]
pub struct ReplicaStatus {
    /// Which engine.
    pub replica_id: ReplicaId,
    /// It takes requests.
    pub ready: bool,
    /// Slots that a request could take now.
    #[cfg_attr(feature = "openapi", schema(maximum = 65536))]
    pub slots_free: u32,
    /// Slots it has.
    #[cfg_attr(feature = "openapi", schema(maximum = 65536))]
    pub slots_total: u32,
    /// The slots its handoff promises, where the engine says that it has fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots_promised: Option<u32>,
    /// The models it serves; absent while nobody has said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<crate::schema::ModelName>>, max_items = 1024))]
    pub models: Option<Vec<String>>,
    /// Why it is not ready, for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// It alone takes no new requests; running ones finish.
    #[serde(skip_serializing_if = "is_false")]
    pub draining: bool,
    /// What it does, in its own words and as of a few seconds ago.
    #[serde(flatten)]
    pub load: EngineLoad,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl ReplicaStatus {
    /// A replica of which nothing is known: not ready, without slots.
    #[must_use]
    pub fn new(replica_id: ReplicaId) -> Self {
        Self {
            replica_id,
            ready: false,
            slots_free: 0,
            slots_total: 0,
            slots_promised: None,
            models: None,
            last_error: None,
            draining: false,
            load: EngineLoad::default(),
        }
    }
}

/// What an engine says that it does. Each kind of engine tells a part of it; what it does not tell is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EngineLoad {
    /// Requests it computes, whoever sent them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<u32>,
    /// Requests that wait inside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u32>,
    /// It has given its memory back until the next request comes, or does not run until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sleeping: Option<bool>,
    /// Those of its models that are in memory, where it serves more than that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<crate::schema::ModelName>>, max_items = 1024))]
    pub models_loaded: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct UnvalidatedPool {
    pool_id: PoolId,
    ready: bool,
    draining: bool,
    slots_free: u32,
    slots_total: u32,
    #[serde(default)]
    vram_free_bytes: u64,
    engine: Option<EngineKind>,
    engine_version: Option<String>,
    models_available: Option<Vec<String>>,
    replicas: Option<Vec<ReplicaStatus>>,
    last_error: Option<String>,
    device_mask: Option<String>,
    #[serde(default)]
    sleeping: bool,
}

#[derive(Deserialize)]
struct UnvalidatedReplica {
    replica_id: ReplicaId,
    ready: bool,
    slots_free: u32,
    slots_total: u32,
    slots_promised: Option<u32>,
    models: Option<Vec<String>>,
    last_error: Option<String>,
    #[serde(default)]
    draining: bool,
    running: Option<u32>,
    waiting: Option<u32>,
    sleeping: Option<bool>,
    models_loaded: Option<Vec<String>>,
}

/// Shortened at a character boundary: an error text is for people, and losing its end beats losing the heartbeat.
pub(crate) fn shorten(text: Option<String>) -> Option<String> {
    text.map(|mut text| {
        if text.len() > MAX_ERROR_BYTES {
            text.truncate(text.floor_char_boundary(MAX_ERROR_BYTES));
        }
        text
    })
}

impl TryFrom<UnvalidatedPool> for PoolStatus {
    type Error = Invalid;

    fn try_from(raw: UnvalidatedPool) -> Result<Self, Invalid> {
        check_slots(raw.slots_free, raw.slots_total)?;
        check_text("engine_version", raw.engine_version.as_deref())?;
        check_text("device_mask", raw.device_mask.as_deref())?;
        check_models("models_available", raw.models_available.as_deref())?;
        if raw
            .replicas
            .as_ref()
            .is_some_and(|replicas| replicas.len() > MAX_REPLICAS)
        {
            return Err(Invalid::new(
                "replicas",
                format!("must be at most {MAX_REPLICAS} replicas"),
            ));
        }
        Ok(Self {
            pool_id: raw.pool_id,
            ready: raw.ready,
            draining: raw.draining,
            slots_free: raw.slots_free,
            slots_total: raw.slots_total,
            vram_free_bytes: raw.vram_free_bytes,
            engine: raw.engine,
            engine_version: raw.engine_version,
            models_available: raw.models_available,
            replicas: raw.replicas,
            last_error: shorten(raw.last_error),
            device_mask: raw.device_mask,
            sleeping: raw.sleeping,
        })
    }
}

impl TryFrom<UnvalidatedReplica> for ReplicaStatus {
    type Error = Invalid;

    fn try_from(raw: UnvalidatedReplica) -> Result<Self, Invalid> {
        check_slots(raw.slots_free, raw.slots_total)?;
        check_models("models", raw.models.as_deref())?;
        check_models("models_loaded", raw.models_loaded.as_deref())?;
        Ok(Self {
            replica_id: raw.replica_id,
            ready: raw.ready,
            slots_free: raw.slots_free,
            slots_total: raw.slots_total,
            slots_promised: raw.slots_promised,
            models: raw.models,
            last_error: shorten(raw.last_error),
            draining: raw.draining,
            load: EngineLoad {
                running: raw.running,
                waiting: raw.waiting,
                sleeping: raw.sleeping,
                models_loaded: raw.models_loaded,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: WIRE-2
    #[test]
    fn what_an_engine_says_stands_beside_its_slots() {
        let long = serde_json::json!({
            "replica_id": "r0", "ready": true, "slots_free": 1, "slots_total": 2, "slots_promised": 4,
            "running": 1, "waiting": 0, "sleeping": false, "models_loaded": ["tiny"],
        });
        let replica: ReplicaStatus = serde_json::from_value(long.clone()).unwrap();
        assert_eq!(replica.slots_promised, Some(4));
        assert_eq!(replica.load.running, Some(1));
        assert_eq!(serde_json::to_value(&replica).unwrap(), long);
        let short = serde_json::json!({"replica_id": "r0", "ready": true, "slots_free": 1, "slots_total": 2});
        let replica: ReplicaStatus = serde_json::from_value(short.clone()).unwrap();
        assert_eq!(replica.load, EngineLoad::default());
        assert_eq!(serde_json::to_value(&replica).unwrap(), short);
    }
}
