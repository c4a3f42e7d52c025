//! Drains: what an operator has excluded from new requests.

use pool_registry_types::{PoolId, ReplicaId};
use thiserror::Error;

use crate::core::{Pool, RegistryCore, ReportUrgency};

/// What to drain or undrain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainTarget {
    /// Every pool of the node, including pools that appear later.
    Node,
    /// One pool.
    Pool(PoolId),
    /// One replica of a pool, whichever engine it has.
    Replica(PoolId, ReplicaId),
}

/// The node has no such pool, or the pool no such replica.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnknownTarget {
    /// No such pool.
    #[error("there is no pool {0} on this node")]
    Pool(PoolId),
    /// No such replica.
    #[error("pool {0} has no replica {1}")]
    Replica(PoolId, ReplicaId),
}

impl RegistryCore {
    /// Starts or ends draining.
    pub(crate) fn set_draining(
        &mut self,
        target: &DrainTarget,
        draining: bool,
    ) -> Result<ReportUrgency, UnknownTarget> {
        let changed = match target {
            DrainTarget::Node => std::mem::replace(&mut self.draining, draining) != draining,
            DrainTarget::Pool(id) => {
                let pool = self.pool_to_drain(id)?;
                std::mem::replace(&mut pool.draining, draining) != draining
            }
            DrainTarget::Replica(id, replica) => {
                let retired = (self.retired.iter()).any(|retired| {
                    retired.handoff.pool_id == *id && retired.handoff.replica_id == *replica
                });
                let pool = self.pool_to_drain(id)?;
                if !(retired || pool.knows(replica)) {
                    return Err(UnknownTarget::Replica(id.clone(), replica.clone()));
                }
                if draining {
                    pool.drained.insert(replica.clone())
                } else {
                    pool.drained.remove(replica)
                }
            }
        };
        if !changed {
            return Ok(ReportUrgency::None);
        }
        if let DrainTarget::Pool(id) | DrainTarget::Replica(id, _) = target {
            self.forget_if_empty(id);
        }
        Ok(ReportUrgency::Immediate)
    }

    /// Drains a replica that need not exist yet.
    pub(crate) fn drain_in_advance(&mut self, pool_id: &PoolId, replica: ReplicaId) {
        let pool = self.pools.entry(pool_id.clone()).or_default();
        pool.drained.insert(replica);
    }

    fn pool_to_drain(&mut self, id: &PoolId) -> Result<&mut Pool, UnknownTarget> {
        self.pools
            .get_mut(id)
            .ok_or_else(|| UnknownTarget::Pool(id.clone()))
    }

    /// Whether `pool` takes no new requests.
    pub(crate) fn is_draining(&self, pool: &Pool) -> bool {
        self.draining || pool.draining
    }
}

impl Pool {
    /// Whether it has replicas, and each of them drains by itself.
    pub(crate) fn is_drained_one_by_one(&self) -> bool {
        let all = || self.replicas.keys().chain(self.scaled_to_zero.keys());
        all().next().is_some() && all().all(|id| self.drained.contains(id))
    }

    fn knows(&self, replica: &ReplicaId) -> bool {
        self.replicas.contains_key(replica)
            || self.absent.contains_key(replica)
            || self.scaled_to_zero.contains_key(replica)
            || self.drained.contains(replica)
    }
}
