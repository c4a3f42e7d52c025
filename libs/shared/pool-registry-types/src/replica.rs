//! What a node reports of each engine of a pool.

use serde::{Deserialize, Serialize};

use crate::{
    ReplicaId,
    invalid::{InvalidField, fitted},
    limits::MAX_CONTEXT_LENGTH,
    models::{ModelName, bound_models, check_models},
    slots::Slots,
    text::{ErrorText, Text},
};

/// One engine of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "UnvalidatedReplica")]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// Its name in the pool.
    pub replica_id: ReplicaId,
    /// It takes requests.
    pub ready: bool,
    /// Slots that a request could take now.
    #[cfg_attr(feature = "openapi", schema(maximum = 65536))]
    slots_free: u32,
    /// Slots it has.
    #[cfg_attr(feature = "openapi", schema(maximum = 65536))]
    slots_total: u32,
    /// The slots that its handoff promises, if the engine reports fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots_promised: Option<u32>,
    /// The models it serves; absent while unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_items = 1024))]
    pub models: Option<Vec<ModelName>>,
    /// Why it is not ready, for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<ErrorText>,
    /// It takes no new requests; running ones finish.
    #[serde(skip_serializing_if = "is_false")]
    pub draining: bool,
    /// Which start of its engine this is, as its node counts them. A new start has none of the
    /// earlier requests, and an empty cache. Absent: unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The most tokens of one request, prompt and answer together, as the engine reports it. Of
    /// several models with different ones, the largest. Absent: unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<u32>,
    /// Who owns its models, as the engine reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owned_by: Option<Text>,
    /// The load that the engine reported a few seconds ago.
    #[serde(flatten)]
    pub load: EngineLoad,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
pub(crate) fn is_false(flag: &bool) -> bool {
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
            generation: None,
            context_length: None,
            owned_by: None,
            load: EngineLoad::default(),
        }
    }

    /// With these slots.
    #[must_use]
    pub fn with_slots(mut self, slots: Slots) -> Self {
        self.set_slots(slots);
        self
    }

    /// Replaces the slots.
    pub fn set_slots(&mut self, slots: Slots) {
        self.slots_free = slots.free();
        self.slots_total = slots.total();
    }

    /// Slots that a request could take now.
    #[must_use]
    pub fn slots_free(&self) -> u32 {
        self.slots_free
    }

    /// Slots it has.
    #[must_use]
    pub fn slots_total(&self) -> u32 {
        self.slots_total
    }

    /// The most tokens of one request; `None` when unknown.
    #[must_use]
    pub fn context_length(&self) -> Option<u32> {
        self.context_length
    }

    /// Replaces the context. One that no model has, of 0 or more than [`MAX_CONTEXT_LENGTH`]
    /// tokens, counts as unknown.
    pub fn set_context_length(&mut self, tokens: Option<u32>) {
        self.context_length = usable_context(tokens);
    }

    /// Whether the two differ at most in free slots and [`load`](Self::load), which change with
    /// every request.
    #[must_use]
    pub fn eq_except_load(&self, other: &Self) -> bool {
        let Self {
            replica_id,
            ready,
            slots_free: _,
            slots_total,
            slots_promised,
            models,
            last_error,
            draining,
            generation,
            context_length,
            owned_by,
            load: _,
        } = self;
        *replica_id == other.replica_id
            && (*ready, *draining, *slots_total) == (other.ready, other.draining, other.slots_total)
            && (*slots_promised, *generation) == (other.slots_promised, other.generation)
            && (models, last_error) == (&other.models, &other.last_error)
            && (context_length, owned_by) == (&other.context_length, &other.owned_by)
    }

    /// Cuts lists that a control plane would refuse.
    pub(crate) fn bound(&mut self) {
        bound_models(&mut self.models);
        bound_models(&mut self.load.models_loaded);
    }
}

/// A context that no model has is not believed.
fn usable_context(tokens: Option<u32>) -> Option<u32> {
    tokens.filter(|tokens| (1..=MAX_CONTEXT_LENGTH).contains(tokens))
}

/// The load that an engine reports. Each kind of engine reports a part of it; the rest is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct EngineLoad {
    /// Requests that it computes, of all its clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<u32>,
    /// Requests that wait inside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u32>,
    /// It has released its memory, or does not run, until the next request comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sleeping: Option<bool>,
    /// Those of its models that are in memory, if it serves several.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_items = 1024))]
    pub models_loaded: Option<Vec<ModelName>>,
}

impl EngineLoad {
    /// The load of an engine that reports its requests only.
    #[must_use]
    pub fn of_requests(running: Option<u32>, waiting: Option<u32>) -> Self {
        Self {
            running,
            waiting,
            ..Self::default()
        }
    }
}

#[derive(Deserialize)]
struct UnvalidatedReplica {
    replica_id: ReplicaId,
    ready: bool,
    slots_free: u32,
    slots_total: u32,
    slots_promised: Option<u32>,
    models: Option<Vec<ModelName>>,
    last_error: Option<ErrorText>,
    #[serde(default)]
    draining: bool,
    generation: Option<u64>,
    context_length: Option<u32>,
    owned_by: Option<Text>,
    running: Option<u32>,
    waiting: Option<u32>,
    sleeping: Option<bool>,
    models_loaded: Option<Vec<ModelName>>,
}

impl TryFrom<UnvalidatedReplica> for ReplicaStatus {
    type Error = InvalidField;

    fn try_from(raw: UnvalidatedReplica) -> Result<Self, InvalidField> {
        let slots = Slots::new(raw.slots_free, raw.slots_total)?;
        check_models("models", raw.models.as_deref())?;
        check_models("models_loaded", raw.models_loaded.as_deref())?;
        Ok(Self {
            replica_id: raw.replica_id,
            ready: raw.ready,
            slots_free: slots.free(),
            slots_total: slots.total(),
            slots_promised: raw.slots_promised,
            models: raw.models.map(fitted),
            last_error: raw.last_error,
            draining: raw.draining,
            generation: raw.generation,
            context_length: usable_context(raw.context_length),
            owned_by: raw.owned_by,
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

    // spec: WIRE-2, WIRE-45
    #[test]
    fn the_context_of_an_engine_is_reported_and_an_impossible_one_is_not_believed() {
        let long = serde_json::json!({
            "replica_id": "r0", "ready": true, "slots_free": 1, "slots_total": 2,
            "context_length": 8192, "owned_by": "vllm",
        });
        let replica: ReplicaStatus = serde_json::from_value(long.clone()).unwrap();
        assert_eq!(replica.context_length, Some(8192));
        assert_eq!(serde_json::to_value(&replica).unwrap(), long);
        for impossible in [0, u32::MAX] {
            let mut odd = long.clone();
            odd["context_length"] = impossible.into();
            odd["owned_by"] = "a\u{1b}[31m".into();
            let mut replica: ReplicaStatus = serde_json::from_value(odd).unwrap();
            assert_eq!(replica.context_length(), None);
            replica.set_context_length(Some(impossible));
            assert_eq!(replica.context_length(), None);
            assert_eq!(replica.owned_by.as_deref(), Some("a [31m"));
        }
    }

    // spec: WIRE-2
    #[test]
    fn the_load_of_an_engine_is_beside_its_slots() {
        let long = serde_json::json!({
            "replica_id": "r0", "ready": true, "slots_free": 1, "slots_total": 2,
            "slots_promised": 4, "running": 1, "waiting": 0, "sleeping": false,
            "models_loaded": ["tiny"],
        });
        let replica: ReplicaStatus = serde_json::from_value(long.clone()).unwrap();
        assert_eq!(replica.slots_promised, Some(4));
        assert_eq!(replica.load.running, Some(1));
        assert_eq!(serde_json::to_value(&replica).unwrap(), long);
        let short = serde_json::json!({
            "replica_id": "r0", "ready": true, "slots_free": 1, "slots_total": 2,
        });
        let replica: ReplicaStatus = serde_json::from_value(short.clone()).unwrap();
        assert_eq!(replica.load, EngineLoad::default());
        assert_eq!(serde_json::to_value(&replica).unwrap(), short);
    }
}
