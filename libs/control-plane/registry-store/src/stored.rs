//! A node as the store keeps it, with wall-clock times.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pool_registry_types::{NodeId, PoolId, PoolStatus, RegisterRequest};
use serde::{Deserialize, Serialize};
use service_registry::{PersistedDrain, PersistedNode, PersistedRegistration};

/// A node as the store keeps it.
///
/// Times are milliseconds since 1970, because deadlines go on while no process runs. A change of
/// the clock moves them; liveness does not depend on them.
///
/// Unknown fields are ignored, so that an earlier version can run again while the schema is the
/// same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredNode {
    node_id: NodeId,
    #[serde(rename = "life", default, skip_serializing_if = "Option::is_none")]
    registered: Option<StoredRegistration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forget_at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drain: Option<StoredDrain>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pool_drains: BTreeMap<PoolId, StoredDrain>,
}

/// The part of a record that its node does not report again.
#[derive(Deserialize)]
struct DrainsOnly {
    node_id: NodeId,
    #[serde(default)]
    forget_at_ms: Option<u64>,
    #[serde(default)]
    drain: Option<StoredDrain>,
    #[serde(default)]
    pool_drains: BTreeMap<PoolId, StoredDrain>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredRegistration {
    registration: RegisterRequest,
    pools: Vec<PoolStatus>,
    reported: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct StoredDrain {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
}

impl StoredNode {
    /// The record of `node` at `now`.
    #[must_use]
    pub fn new(node: PersistedNode, now: SystemTime) -> Self {
        let drain = |drain: PersistedDrain| StoredDrain {
            deadline_ms: drain.time_left.map(|left| unix_ms(left, now)),
        };
        Self {
            node_id: node.node_id,
            registered: node.registered.map(|registered| StoredRegistration {
                registration: registered.registration,
                pools: registered.pools,
                reported: registered.reported,
            }),
            forget_at_ms: node.forget_in.map(|left| unix_ms(left, now)),
            drain: node.drain.map(drain),
            pool_drains: node
                .pool_drains
                .into_iter()
                .map(|(pool, of_pool)| (pool, drain(of_pool)))
                .collect(),
        }
    }

    /// The drains of a node whose registration cannot be read.
    ///
    /// # Errors
    /// When the drains cannot be read either.
    pub(crate) fn drains_only(record: &[u8]) -> Result<Self, serde_json::Error> {
        let part: DrainsOnly = serde_json::from_slice(record)?;
        Ok(Self {
            node_id: part.node_id,
            registered: None,
            forget_at_ms: part.forget_at_ms,
            drain: part.drain,
            pool_drains: part.pool_drains,
        })
    }

    /// The id of the node.
    #[must_use]
    pub fn node_id(&self) -> &NodeId {
        &self.node_id
    }

    /// Whether the node or one of its pools is drained.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drain.is_some() || !self.pool_drains.is_empty()
    }

    /// The node for the registry at `now`. Times that have passed are zero.
    #[must_use]
    pub fn to_persisted(&self, now: SystemTime) -> PersistedNode {
        let drain = |drain: &StoredDrain| PersistedDrain {
            time_left: drain.deadline_ms.map(|at| time_left(at, now)),
        };
        PersistedNode {
            node_id: self.node_id.clone(),
            registered: self
                .registered
                .as_ref()
                .map(|registered| PersistedRegistration {
                    registration: registered.registration.clone(),
                    pools: registered.pools.clone(),
                    reported: registered.reported,
                }),
            forget_in: self.forget_at_ms.map(|at| time_left(at, now)),
            drain: self.drain.as_ref().map(drain),
            pool_drains: self
                .pool_drains
                .iter()
                .map(|(pool, of_pool)| (pool.clone(), drain(of_pool)))
                .collect(),
        }
    }

    /// Whether the record belongs to `node_id`, and registers no other node.
    #[must_use]
    pub fn is_of(&self, node_id: &str) -> bool {
        let registers = self.registered.as_ref();
        let registers = registers.map(|registered| &registered.registration.node_id);
        self.node_id.as_str() == node_id && registers.is_none_or(|id| *id == self.node_id)
    }
}

/// The time when `left` is over, in milliseconds since 1970.
fn unix_ms(left: Duration, now: SystemTime) -> u64 {
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    pool_registry_types::millis(since_epoch.saturating_add(left))
}

/// The time that is left until `at_ms`.
fn time_left(at_ms: u64, now: SystemTime) -> Duration {
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(at_ms).saturating_sub(since_epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::node;

    #[test]
    fn deadlines_go_on_while_no_process_runs() {
        let now = UNIX_EPOCH + Duration::from_secs(1_763_884_800);
        let stored = node("a", now);
        let hour = Duration::from_secs(3600);
        let before = stored.to_persisted(now);
        assert_eq!(StoredNode::new(before.clone(), now), stored);
        let after = stored.to_persisted(now + hour);
        assert_eq!(before.registered, after.registered);
        let lefts = |known: &PersistedNode| [known.forget_in, known.drain.unwrap().time_left];
        assert_eq!(lefts(&before), [Some(20 * hour), Some(2 * hour)]);
        assert_eq!(lefts(&after), [Some(19 * hour), Some(hour)]);
        assert_eq!(
            lefts(&stored.to_persisted(now + 20 * hour)),
            [Some(Duration::ZERO); 2]
        );
        // A clock that goes back gives time.
        assert_eq!(
            lefts(&stored.to_persisted(now - hour)),
            [Some(21 * hour), Some(3 * hour)]
        );
    }

    #[test]
    fn times_without_end_stay_in_range() {
        let now = UNIX_EPOCH + Duration::from_secs(1);
        let mut known = node("a", now).to_persisted(now);
        known.forget_in = Some(Duration::MAX);
        let stored = StoredNode::new(known, now);
        assert_eq!(stored.forget_at_ms, Some(u64::MAX));
        assert!(stored.to_persisted(now).forget_in.is_some());
    }

    /// As version 0.1.0 writes it.
    const RECORDED: &str = concat!(
        r#"{"node_id":"a","life":{"registration":{"node_id":"a","machine_id":"m","#,
        r#""address":"http://10.0.0.1:9200","pools":["p"],"#,
        r#""capabilities":{"gpus":[],"cpu_cores":16,"ram_total_bytes":64},"version":"0.1.0","#,
        r#""incarnation":7},"pools":[{"pool_id":"p","ready":true,"draining":false,"#,
        r#""slots_free":4,"slots_total":4,"vram_free_bytes":0,"models_available":["tiny"],"#,
        r#""replicas":[{"replica_id":"r0","ready":true,"slots_free":4,"#,
        r#""slots_total":4}]}],"reported":true},"drain":{"deadline_ms":1764000000000}}"#,
    );

    // spec: KEEP-30
    #[test]
    fn what_an_earlier_version_wrote_is_read_and_written_as_it_was() {
        let stored: StoredNode = serde_json::from_str(RECORDED).unwrap();
        let registration = stored
            .to_persisted(UNIX_EPOCH)
            .registered
            .unwrap()
            .registration;
        assert!(!registration.takes_replica_hint);
        assert_eq!(serde_json::to_string(&stored).unwrap(), RECORDED);
    }

    // spec: KEEP-30
    #[test]
    fn replicas_are_endpoints_again_after_a_restart() {
        let takes_hint = RECORDED
            .replace(
                r#""incarnation":7"#,
                r#""incarnation":7,"takes_replica_hint":true"#,
            )
            .replace(
                r#""ready":true,"slots_free""#,
                r#""ready":true,"generation":3,"slots_free""#,
            );
        let stored: StoredNode = serde_json::from_str(&takes_hint).unwrap();
        let mut registry = service_registry::Registry::new(Default::default());
        registry.restore(vec![stored.to_persisted(UNIX_EPOCH)], Duration::ZERO);
        let node = registry.node(stored.node_id()).unwrap();
        let endpoints: Vec<_> = node.pools[0]
            .endpoints
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(endpoints, ["a/p/r0"]);
        let kept = StoredNode::new(
            registry.persisted_node(stored.node_id()).unwrap(),
            UNIX_EPOCH,
        );
        assert_eq!(kept, stored);
    }

    #[test]
    fn a_record_with_more_or_less_in_it_is_understood() {
        let least: StoredNode =
            serde_json::from_str(r#"{"node_id":"a","of_a_later_version":1}"#).unwrap();
        assert!(least.is_of("a") && !least.is_of("b"));
        let now = UNIX_EPOCH;
        let text = serde_json::to_string(&node("a", now)).unwrap();
        assert_eq!(
            serde_json::from_str::<StoredNode>(&text).unwrap(),
            node("a", now)
        );
    }
}
