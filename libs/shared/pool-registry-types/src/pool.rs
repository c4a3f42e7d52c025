//! What a node reports of each of its pools in every heartbeat.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    EngineKind, PoolId,
    invalid::{InvalidField, check_count, check_unique, fitted},
    limits::{MAX_QUEUE_TIMEOUT_MS, MAX_REPLICAS},
    models::{ModelName, bound_models, check_models},
    replica::{ReplicaStatus, is_false},
    slots::Slots,
    text::{ErrorText, Text},
};

/// One pool: its full state, in every heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "UnvalidatedPool")]
#[non_exhaustive]
pub struct PoolStatus {
    /// Its name on the node.
    pub pool_id: PoolId,
    /// At least one replica takes requests.
    pub ready: bool,
    /// It takes no new requests; running ones finish.
    pub draining: bool,
    /// Slots that a request could take now, over all ready replicas.
    #[cfg_attr(feature = "openapi", schema(maximum = 65536))]
    slots_free: u32,
    /// Slots of all ready replicas, and those that running requests still hold of others.
    #[cfg_attr(feature = "openapi", schema(maximum = 65536))]
    slots_total: u32,
    /// Free memory of the pool's devices in bytes; 0 when unknown.
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub vram_free_bytes: u64,
    /// The engine of its replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineKind>,
    /// The version that the engine reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<Text>,
    /// The models that its replicas serve; absent while unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_items = 1024))]
    pub models_available: Option<Vec<ModelName>>,
    /// Its engines one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Vec<ReplicaStatus>>,
    /// Why it is not ready, for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<ErrorText>,
    /// The devices it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_mask: Option<Text>,
    /// How long a request for its models may wait, in milliseconds; absent when the control plane's
    /// own queue timeout is enough. More than an hour counts as an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    queue_timeout_ms: Option<u32>,
    /// None of its engines runs, and the first request starts one: its slots are promised.
    #[serde(skip_serializing_if = "is_false")]
    pub sleeping: bool,
    /// No setting or handoff names it: it only shows that the node has no pools yet.
    #[serde(skip_serializing_if = "is_false")]
    pub placeholder: bool,
}

impl PoolStatus {
    /// A pool of which only the name is known: not ready, without slots.
    #[must_use]
    pub fn new(pool_id: PoolId) -> Self {
        Self {
            pool_id,
            ready: false,
            draining: false,
            slots_free: 0,
            slots_total: 0,
            vram_free_bytes: 0,
            engine: None,
            engine_version: None,
            models_available: None,
            replicas: None,
            last_error: None,
            device_mask: None,
            queue_timeout_ms: None,
            sleeping: false,
            placeholder: false,
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

    /// Slots that a request could take now, over all ready replicas.
    #[must_use]
    pub fn slots_free(&self) -> u32 {
        self.slots_free
    }

    /// Slots of all ready replicas, and those that running requests still hold of others.
    #[must_use]
    pub fn slots_total(&self) -> u32 {
        self.slots_total
    }

    /// How long a request for its models may wait for a slot or for an engine that starts.
    #[must_use]
    pub fn queue_timeout(&self) -> Option<Duration> {
        let millis = self.queue_timeout_ms?;
        Some(Duration::from_millis(millis.into()))
    }

    /// Sets how long a request for its models may wait; at most [`MAX_QUEUE_TIMEOUT_MS`].
    pub fn set_queue_timeout(&mut self, timeout: Option<Duration>) {
        self.queue_timeout_ms = timeout.map(|timeout| {
            let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
            millis.min(MAX_QUEUE_TIMEOUT_MS)
        });
    }

    /// Whether the two differ at most in free slots, free memory and the load of engines, which
    /// change with every request.
    #[must_use]
    pub fn eq_except_load(&self, other: &Self) -> bool {
        let Self {
            pool_id,
            ready,
            draining,
            slots_free: _,
            slots_total,
            vram_free_bytes: _,
            engine,
            engine_version,
            models_available,
            replicas,
            last_error,
            device_mask,
            queue_timeout_ms,
            sleeping,
            placeholder,
        } = self;
        let same_replicas = match (replicas, &other.replicas) {
            (Some(these), Some(others)) => {
                these.len() == others.len()
                    && these
                        .iter()
                        .zip(others)
                        .all(|(this, other)| this.eq_except_load(other))
            }
            (these, others) => these.is_none() && others.is_none(),
        };
        same_replicas
            && *pool_id == other.pool_id
            && (*ready, *draining, *slots_total, *sleeping)
                == (
                    other.ready,
                    other.draining,
                    other.slots_total,
                    other.sleeping,
                )
            && (engine, engine_version) == (&other.engine, &other.engine_version)
            && *models_available == other.models_available
            && *placeholder == other.placeholder
            && *queue_timeout_ms == other.queue_timeout_ms
            && (last_error, device_mask) == (&other.last_error, &other.device_mask)
    }

    /// The models of one of its replicas; `None` if they are not known.
    ///
    /// A replica advertises only the models that it names. The models of the pool stand in for
    /// them when no replica names any: an agent may report models per pool alone, or leave out
    /// those of replicas to keep its report small.
    #[must_use]
    pub fn models_of<'a>(&'a self, replica: &'a ReplicaStatus) -> Option<&'a Vec<ModelName>> {
        if replica.models.is_some() {
            return replica.models.as_ref();
        }
        let mut replicas = self.replicas.iter().flatten();
        let none_names_models = replicas.all(|other| other.models.is_none());
        self.models_available.as_ref().filter(|_| none_names_models)
    }

    /// Cuts lists that a control plane would refuse, and keeps the first of several
    /// replicas with one id.
    pub(crate) fn bound(&mut self) {
        bound_models(&mut self.models_available);
        if let Some(replicas) = &mut self.replicas {
            let mut seen = std::collections::BTreeSet::new();
            replicas.retain(|replica| seen.insert(replica.replica_id.clone()));
            replicas.truncate(MAX_REPLICAS);
            replicas.iter_mut().for_each(ReplicaStatus::bound);
        }
    }
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
    engine_version: Option<Text>,
    models_available: Option<Vec<ModelName>>,
    replicas: Option<Vec<ReplicaStatus>>,
    last_error: Option<ErrorText>,
    device_mask: Option<Text>,
    queue_timeout_ms: Option<u64>,
    #[serde(default)]
    sleeping: bool,
    #[serde(default)]
    placeholder: bool,
}

impl TryFrom<UnvalidatedPool> for PoolStatus {
    type Error = InvalidField;

    fn try_from(raw: UnvalidatedPool) -> Result<Self, InvalidField> {
        let slots = Slots::new(raw.slots_free, raw.slots_total)?;
        check_models("models_available", raw.models_available.as_deref())?;
        let replicas = raw.replicas.as_deref().unwrap_or_default();
        check_count("replicas", replicas.len(), MAX_REPLICAS)?;
        let ids = replicas.iter().map(|replica| &replica.replica_id);
        check_unique("replicas", "replica_id", ids)?;
        let mut pool = Self {
            pool_id: raw.pool_id,
            ready: raw.ready,
            draining: raw.draining,
            slots_free: slots.free(),
            slots_total: slots.total(),
            vram_free_bytes: raw.vram_free_bytes,
            engine: raw.engine,
            engine_version: raw.engine_version,
            models_available: raw.models_available.map(fitted),
            replicas: raw.replicas.map(fitted),
            last_error: raw.last_error,
            device_mask: raw.device_mask,
            queue_timeout_ms: None,
            sleeping: raw.sleeping,
            placeholder: raw.placeholder,
        };
        pool.set_queue_timeout(raw.queue_timeout_ms.map(Duration::from_millis));
        Ok(pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_load_alone_is_recognised() {
        type Edit = fn(&mut PoolStatus);
        let replica = ReplicaStatus::new("r0".parse().unwrap());
        let mut pool = PoolStatus::new("p".parse().unwrap()).with_slots(Slots::clamped(1, 2));
        pool.replicas = Some(vec![replica.with_slots(Slots::clamped(1, 2))]);
        let load: [Edit; 4] = [
            |pool| pool.set_slots(Slots::clamped(2, 2)),
            |pool| pool.vram_free_bytes = 9,
            |pool| pool.replicas.as_mut().unwrap()[0].set_slots(Slots::clamped(0, 2)),
            |pool| pool.replicas.as_mut().unwrap()[0].load.running = Some(1),
        ];
        let others: [Edit; 7] = [
            |pool| pool.ready = true,
            |pool| pool.set_queue_timeout(Some(Duration::from_secs(9))),
            |pool| pool.set_slots(Slots::clamped(1, 3)),
            |pool| pool.last_error = Some(ErrorText::cut("x")),
            |pool| pool.replicas = None,
            |pool| pool.replicas.as_mut().unwrap()[0].generation = Some(1),
            |pool| pool.replicas.as_mut().unwrap()[0].set_slots(Slots::clamped(1, 3)),
        ];
        let edited = |edit: Edit| {
            let mut other = pool.clone();
            edit(&mut other);
            other
        };
        assert!(
            load.into_iter()
                .all(|edit| pool.eq_except_load(&edited(edit)))
        );
        assert!(
            !others
                .into_iter()
                .any(|edit| pool.eq_except_load(&edited(edit)))
        );
    }

    // spec: WIRE-49
    #[test]
    fn a_pool_may_report_a_queue_timeout_and_a_longer_one_than_the_maximum_is_cut() {
        let without = serde_json::json!({
            "pool_id": "p", "ready": true, "draining": false, "slots_free": 1, "slots_total": 2,
            "vram_free_bytes": 0,
        });
        let pool: PoolStatus = serde_json::from_value(without.clone()).unwrap();
        assert_eq!(pool.queue_timeout(), None);
        assert_eq!(serde_json::to_value(&pool).unwrap(), without);
        let longest = u64::from(MAX_QUEUE_TIMEOUT_MS);
        for (reported, expected) in [(0, 0), (90_000, 90_000), (u64::MAX, longest)] {
            let mut with = without.clone();
            with["queue_timeout_ms"] = reported.into();
            let pool: PoolStatus = serde_json::from_value(with).unwrap();
            assert_eq!(pool.queue_timeout(), Some(Duration::from_millis(expected)));
            let sent = serde_json::to_value(&pool).unwrap();
            assert_eq!(sent["queue_timeout_ms"], expected);
        }
    }
}
