//! What a node says about each of its pools in every heartbeat.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    EngineKind, PoolId, ReplicaId,
    id::echo,
    limits::{
        MAX_ERROR_BYTES, MAX_MODEL_NAME_BYTES, MAX_MODELS, MAX_REPLICAS, MAX_SLOTS, MAX_TEXT_BYTES,
    },
    text::{clean_error, clean_some},
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

/// Refuses a text of a file that somebody can correct; in messages, texts are cleaned.
pub(crate) fn check_text(field: &'static str, value: Option<&str>) -> Result<(), Invalid> {
    match value {
        Some(text) if text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) => {
            Err(Invalid::new(
                field,
                format!(
                    "must be at most {MAX_TEXT_BYTES} bytes without control characters, not {}",
                    echo(text)
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// Refuses a list that is longer than it may be.
pub(crate) fn check_count(field: &'static str, count: usize, max: usize) -> Result<(), Invalid> {
    if count > max {
        return Err(Invalid::new(
            field,
            format!("must have at most {max} entries, not {count}"),
        ));
    }
    Ok(())
}

/// The list without room for more: a reader makes room for four entries at once, and what a node
/// says is kept for as long as the node is known.
pub(crate) fn fitted<T>(mut list: Vec<T>) -> Vec<T> {
    list.shrink_to_fit();
    list
}

/// Whether a model may have this name: 1 to [`MAX_MODEL_NAME_BYTES`] bytes without control
/// characters.
#[must_use]
pub fn is_model_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_MODEL_NAME_BYTES && !name.chars().any(char::is_control)
}

/// Of `names` those that a message may carry, sorted and each once; and how many are left out.
///
/// What an engine answers is not ours to trust: one impossible name must not make the control plane
/// refuse the whole report.
#[must_use]
pub fn usable_models(mut names: Vec<String>) -> (Vec<String>, usize) {
    let told = names.len();
    names.retain(|name| is_model_name(name));
    let impossible = told.saturating_sub(names.len());
    names.sort_unstable();
    names.dedup();
    let beyond = names.len().saturating_sub(MAX_MODELS);
    names.truncate(MAX_MODELS);
    (names, impossible.saturating_add(beyond))
}

pub(crate) fn check_models(field: &'static str, models: Option<&[String]>) -> Result<(), Invalid> {
    let Some(models) = models else { return Ok(()) };
    if models.len() > MAX_MODELS {
        return Err(Invalid::new(
            field,
            format!(
                "must name at most {MAX_MODELS} models, not {}",
                models.len()
            ),
        ));
    }
    match models.iter().find(|name| !is_model_name(name)) {
        Some(bad) => Err(Invalid::new(
            field,
            format!(
                "must be names of 1 to {MAX_MODEL_NAME_BYTES} bytes without control characters, \
                 not {}",
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
    /// Which start of its engine this is, as its node counts them: a new one has none of the old
    /// one's requests, and nothing in its cache. Absent: not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// What it does, in its own words and as of a few seconds ago.
    #[serde(flatten)]
    pub load: EngineLoad,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
pub(crate) fn is_false(flag: &bool) -> bool {
    !flag
}

impl PoolStatus {
    /// The models of one of its replicas; `None` when they are not known.
    ///
    /// A replica advertises only the models that it names. The models of the pool stand in for
    /// them when no replica names any: an agent may report models per pool alone, or leave out
    /// those of replicas to keep its report small.
    #[must_use]
    pub fn models_of<'a>(&'a self, replica: &'a ReplicaStatus) -> Option<&'a Vec<String>> {
        if replica.models.is_some() {
            return replica.models.as_ref();
        }
        let mut replicas = self.replicas.iter().flatten();
        let none_names_models = replicas.all(|other| other.models.is_none());
        self.models_available.as_ref().filter(|_| none_names_models)
    }

    fn clean_texts(&mut self) {
        clean_some(&mut self.engine_version);
        clean_some(&mut self.device_mask);
        clean_error(&mut self.last_error, MAX_ERROR_BYTES);
    }

    /// Makes it one that every control plane takes: lists and texts are cut, impossible names left
    /// out.
    pub(crate) fn bound(&mut self) {
        self.clean_texts();
        bound_slots(&mut self.slots_free, &mut self.slots_total);
        bound_models(&mut self.models_available);
        if let Some(replicas) = &mut self.replicas {
            replicas.truncate(MAX_REPLICAS);
            replicas.iter_mut().for_each(ReplicaStatus::bound);
        }
    }
}

fn bound_slots(free: &mut u32, total: &mut u32) {
    *total = (*total).min(MAX_SLOTS);
    *free = (*free).min(*total);
}

/// Leaves a list alone that is as it should be, in its order.
fn bound_models(models: &mut Option<Vec<String>>) {
    if check_models("", models.as_deref()).is_err() {
        *models = models.take().map(|names| usable_models(names).0);
    }
}

impl ReplicaStatus {
    fn bound(&mut self) {
        clean_error(&mut self.last_error, MAX_ERROR_BYTES);
        bound_slots(&mut self.slots_free, &mut self.slots_total);
        bound_models(&mut self.models);
        bound_models(&mut self.load.models_loaded);
    }

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
            generation: None,
            load: EngineLoad::default(),
        }
    }
}

/// What an engine says that it does. Each kind of engine tells a part of it; what it does not tell
/// is absent.
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
    generation: Option<u64>,
    running: Option<u32>,
    waiting: Option<u32>,
    sleeping: Option<bool>,
    models_loaded: Option<Vec<String>>,
}

impl TryFrom<UnvalidatedPool> for PoolStatus {
    type Error = Invalid;

    fn try_from(raw: UnvalidatedPool) -> Result<Self, Invalid> {
        check_slots(raw.slots_free, raw.slots_total)?;
        check_models("models_available", raw.models_available.as_deref())?;
        let replicas = raw.replicas.as_ref().map_or(0, Vec::len);
        check_count("replicas", replicas, MAX_REPLICAS)?;
        let mut pool = Self {
            pool_id: raw.pool_id,
            ready: raw.ready,
            draining: raw.draining,
            slots_free: raw.slots_free,
            slots_total: raw.slots_total,
            vram_free_bytes: raw.vram_free_bytes,
            engine: raw.engine,
            engine_version: raw.engine_version,
            models_available: raw.models_available.map(fitted),
            replicas: raw.replicas.map(fitted),
            last_error: raw.last_error,
            device_mask: raw.device_mask,
            sleeping: raw.sleeping,
        };
        pool.clean_texts();
        Ok(pool)
    }
}

impl TryFrom<UnvalidatedReplica> for ReplicaStatus {
    type Error = Invalid;

    fn try_from(raw: UnvalidatedReplica) -> Result<Self, Invalid> {
        check_slots(raw.slots_free, raw.slots_total)?;
        check_models("models", raw.models.as_deref())?;
        check_models("models_loaded", raw.models_loaded.as_deref())?;
        let mut last_error = raw.last_error;
        clean_error(&mut last_error, MAX_ERROR_BYTES);
        Ok(Self {
            replica_id: raw.replica_id,
            ready: raw.ready,
            slots_free: raw.slots_free,
            slots_total: raw.slots_total,
            slots_promised: raw.slots_promised,
            models: raw.models.map(fitted),
            last_error,
            draining: raw.draining,
            generation: raw.generation,
            load: EngineLoad {
                running: raw.running,
                waiting: raw.waiting,
                sleeping: raw.sleeping,
                models_loaded: raw.models_loaded.map(fitted),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_an_engine_lists_the_usable_is_kept_and_the_rest_counted() {
        let list = ["b", "a", "b", "", "a\n"].map(str::to_owned);
        let long = "x".repeat(MAX_MODEL_NAME_BYTES + 1);
        let few = list.iter().cloned().chain([long]).collect();
        assert_eq!(
            usable_models(few),
            (vec!["a".to_owned(), "b".to_owned()], 3)
        );
        let (kept, left_out) =
            usable_models((0..MAX_MODELS + 5).map(|i| format!("m{i}")).collect());
        assert_eq!((kept.len(), left_out), (MAX_MODELS, 5));
    }

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
