//! The state of a node's pools, and what handoffs, probes and leases change in it. No I/O, no lock,
//! no clock.
//!
//! Decisions about claims are in `claim` and `scaled_to_zero`, drains in `drain`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use pool_registry_types::{Handoff, HttpUrl, MAX_POOLS, MAX_REPLICAS, PoolId, ReplicaId};
use thiserror::Error;

use crate::{
    engine_key::EngineKey,
    probe::{ProbeOutcome, ReplicaChange},
    replica::{Replica, RetiredReplica, ScaledToZeroReplica, Trust},
};

/// The error of a pool without replicas.
pub(crate) const NO_ENGINE: &str = "no engine has been announced";

/// Why a handoff was not accepted: a heartbeat could not carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UpsertError {
    /// The node has as many pools as it may have.
    #[error("a node has at most {MAX_POOLS} pools")]
    TooManyPools,
    /// The pool has as many replicas as it may have.
    #[error("a pool has at most {MAX_REPLICAS} replicas")]
    TooManyReplicas,
}

/// Whether a change must be reported in a heartbeat of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum ReportUrgency {
    /// Report it at once.
    Immediate,
    /// The next regular heartbeat is early enough.
    None,
}

impl From<bool> for ReportUrgency {
    fn from(changed: bool) -> Self {
        if changed { Self::Immediate } else { Self::None }
    }
}

/// One pool.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Named in the configuration: it is reported even without replicas.
    pub(crate) configured: bool,
    /// No setting or handoff names it: it is reported only while the node has no other pool.
    pub(crate) placeholder: bool,
    pub(crate) draining: bool,
    /// Replicas that an operator drains, whether they exist or not.
    pub(crate) drained: BTreeSet<ReplicaId>,
    pub(crate) vram_free_bytes: u64,
    pub(crate) replicas: BTreeMap<ReplicaId, Replica>,
    /// Why expected replicas have no handoff.
    pub(crate) absent: BTreeMap<ReplicaId, Arc<str>>,
    pub(crate) scaled_to_zero: BTreeMap<ReplicaId, ScaledToZeroReplica>,
    /// Number of claims since the start.
    pub(crate) claims: u64,
}

impl Pool {
    /// Whether it exists only by default: no handoff, drain or expected engine names it.
    pub(crate) fn is_placeholder(&self) -> bool {
        self.placeholder
            && !self.draining
            && self.drained.is_empty()
            && self.replicas.is_empty()
            && self.absent.is_empty()
            && self.scaled_to_zero.is_empty()
    }

    /// Whether one of its replicas, running or scaled to zero, names `model`.
    fn names(&self, model: &str) -> bool {
        self.replicas.values().any(|replica| replica.names(model))
            || (self.scaled_to_zero_replicas()).any(|(_, replica)| replica.names(model))
    }

    /// Whether a request for `model` may go to `replica`: the replica names the model, or its
    /// models are unknown and no other replica names the model.
    pub(crate) fn may_serve(&self, replica: &Replica, model: Option<&str>) -> bool {
        model.is_none_or(|model| {
            replica.names(model) || (replica.models().is_none() && !self.names(model))
        })
    }

    /// The replicas that are scaled to zero and have no handoff.
    pub(crate) fn scaled_to_zero_replicas(
        &self,
    ) -> impl Iterator<Item = (&ReplicaId, &ScaledToZeroReplica)> {
        (self.scaled_to_zero.iter()).filter(|(id, _)| !self.replicas.contains_key(*id))
    }
}

/// What a release changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Released {
    pub(crate) urgency: ReportUrgency,
    /// No lease of the node is left.
    pub(crate) idle: bool,
}

/// The pools and replicas of one node.
#[derive(Debug, Default)]
pub(crate) struct RegistryCore {
    pub(crate) pools: BTreeMap<PoolId, Pool>,
    /// Almost always empty: handoffs rarely change under load.
    pub(crate) retired: Vec<RetiredReplica>,
    pub(crate) draining: bool,
    pub(crate) in_flight: usize,
    /// Why each refused handoff file was refused.
    pub(crate) refused: BTreeMap<String, String>,
    pub(crate) last_generation: u64,
    /// How long requests for the models of pools may wait, whether the pools exist yet or not.
    pub(crate) queue_timeouts: BTreeMap<PoolId, Duration>,
}

impl RegistryCore {
    pub(crate) fn new(configured: Vec<PoolId>) -> Self {
        let pool = || Pool {
            configured: true,
            ..Pool::default()
        };
        Self {
            pools: configured.into_iter().map(|id| (id, pool())).collect(),
            ..Self::default()
        }
    }

    /// Adds a pool that is reported only while there is no other.
    pub(crate) fn add_placeholder(&mut self, id: PoolId) {
        let pool = self.pools.entry(id).or_default();
        pool.placeholder = !pool.configured;
        pool.configured = true;
    }

    /// Applies a new or changed handoff.
    pub(crate) fn upsert(
        &mut self,
        handoff: Handoff,
        key: Result<Option<EngineKey>, String>,
        trust: Trust,
    ) -> Result<ReportUrgency, UpsertError> {
        if !self.pools.contains_key(&handoff.pool_id) && self.pools.len() >= MAX_POOLS {
            return Err(UpsertError::TooManyPools);
        }
        let pool = self.pools.entry(handoff.pool_id.clone()).or_default();
        let full = pool.replicas.len() >= MAX_REPLICAS;
        match pool.replicas.get_mut(&handoff.replica_id) {
            Some(replica) if replica.is_same_engine(&handoff) => {
                return Ok(replica.update_handoff(handoff, key, trust).into());
            }
            None if full => return Err(UpsertError::TooManyReplicas),
            _ => {}
        }
        let mut new = if let Some(offered) = pool.scaled_to_zero.remove(&handoff.replica_id) {
            // Waiting requests keep their slots.
            Replica::started(handoff, offered.generation, offered.claimed)
        } else {
            self.last_generation += 1;
            match trust {
                Trust::Fresh => Replica::new(handoff, self.last_generation),
                Trust::Unverified => Replica::unverified(handoff, self.last_generation),
            }
        };
        new.set_key(key);
        if let Some(old) = (pool.replicas).insert(new.handoff.replica_id.clone(), new) {
            self.retire(old);
        }
        Ok(ReportUrgency::Immediate)
    }

    /// Retires the replica whose handoff is gone.
    pub(crate) fn remove(&mut self, pool_id: &PoolId, replica_id: &ReplicaId) -> ReportUrgency {
        let Some(old) = self
            .pools
            .get_mut(pool_id)
            .and_then(|pool| pool.replicas.remove(replica_id))
        else {
            return ReportUrgency::None;
        };
        self.retire(old);
        self.forget_if_empty(pool_id);
        ReportUrgency::Immediate
    }

    fn retire(&mut self, old: Replica) {
        if old.claimed > 0 {
            self.retired.push(RetiredReplica {
                handoff: old.handoff,
                generation: old.generation,
                claimed: old.claimed,
            });
        }
    }

    /// Forgets a pool that is not configured, has no replicas or leases, and is not drained.
    pub(crate) fn forget_if_empty(&mut self, pool_id: &PoolId) {
        let still_leased = self
            .retired
            .iter()
            .any(|retired| retired.handoff.pool_id == *pool_id);
        if let Some(pool) = self.pools.get(pool_id)
            && !(pool.configured || pool.draining || still_leased)
            && pool.drained.is_empty()
            && pool.replicas.is_empty()
            && pool.absent.is_empty()
            && pool.scaled_to_zero.is_empty()
        {
            self.pools.remove(pool_id);
        }
    }

    /// Applies the outcome of a probe to one generation of a replica. An outcome for another
    /// generation changes nothing.
    pub(crate) fn probed(
        &mut self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        generation: u64,
        outcome: ProbeOutcome,
    ) -> (ReportUrgency, Vec<ReplicaChange>) {
        let replica = self
            .pools
            .get_mut(pool_id)
            .and_then(|pool| pool.replicas.get_mut(replica_id))
            .filter(|replica| replica.generation == generation);
        let Some(replica) = replica else {
            return (ReportUrgency::None, Vec::new());
        };
        let models_before = replica.models().cloned();
        let context_before = replica.context_length();
        let reason_before = replica.not_ready().cloned();
        let is_definite = outcome.is_definite;
        let changes = replica.probed(outcome);
        // An operator who corrects the configuration wants to see what is wrong with it now.
        let changed = (is_definite && reason_before.as_ref() != replica.not_ready())
            || models_before.as_deref() != replica.models().map(|models| &**models)
            || context_before != replica.context_length();
        ((changed || !changes.is_empty()).into(), changes)
    }

    /// Replaces the key of one generation of a replica.
    pub(crate) fn set_key(
        &mut self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        generation: u64,
        key: EngineKey,
    ) {
        let replica = self
            .pools
            .get_mut(pool_id)
            .and_then(|pool| pool.replicas.get_mut(replica_id))
            .filter(|replica| replica.generation == generation);
        if let Some(replica) = replica {
            replica.set_key(Ok(Some(key)));
        }
    }

    /// The slots of `replica` that are free now. A retired generation of the same engine may still
    /// use some of them.
    pub(crate) fn free_slots(&self, replica: &Replica) -> u32 {
        replica.slots().saturating_sub(self.busy_slots(replica))
    }

    /// The slots of `replica` that are taken now, also by retired generations of the same engine.
    pub(crate) fn busy_slots(&self, replica: &Replica) -> u32 {
        let retired = (self.retired.iter())
            .filter(|retired| retired.handoff.url == replica.handoff.url)
            .map(|retired| retired.claimed);
        retired.fold(replica.claimed, u32::saturating_add)
    }

    /// Takes a slot back from the generation of the replica that gave it.
    pub(crate) fn release(
        &mut self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        generation: u64,
    ) -> Released {
        self.in_flight = self.in_flight.saturating_sub(1);
        let pool = self.pools.get_mut(pool_id);
        let is_drained = (pool.as_ref()).is_some_and(|pool| pool.drained.contains(replica_id));
        let live = pool
            .and_then(|pool| pool.replicas.get_mut(replica_id))
            .filter(|replica| replica.generation == generation);
        let urgency = if let Some(replica) = live {
            replica.claimed = replica.claimed.saturating_sub(1);
            // A replica without new requests is counted in slot totals only for its running ones.
            (is_drained || replica.not_ready().is_some()).into()
        } else if let Some(offered) = self.scaled_to_zero_mut(pool_id, replica_id, generation) {
            offered.claimed = offered.claimed.saturating_sub(1);
            ReportUrgency::None
        } else {
            self.release_retired(pool_id, generation)
        };
        Released {
            urgency,
            idle: self.in_flight == 0,
        }
    }

    fn release_retired(&mut self, pool_id: &PoolId, generation: u64) -> ReportUrgency {
        let Some(index) = self
            .retired
            .iter()
            .position(|retired| retired.generation == generation)
        else {
            return ReportUrgency::None;
        };
        let Some(retired) = self.retired.get_mut(index) else {
            return ReportUrgency::None;
        };
        retired.claimed = retired.claimed.saturating_sub(1);
        if retired.claimed == 0 {
            self.retired.swap_remove(index);
            self.forget_if_empty(pool_id);
        }
        ReportUrgency::Immediate
    }

    /// The replica that is scaled to zero, if it is to start as `generation`.
    fn scaled_to_zero_mut(
        &mut self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        generation: u64,
    ) -> Option<&mut ScaledToZeroReplica> {
        let pool = self.pools.get_mut(pool_id)?;
        let replica = pool.scaled_to_zero.get_mut(replica_id)?;
        (replica.generation == generation).then_some(replica)
    }

    /// The number of leases of the engine at `url`, its earlier generations included.
    pub(crate) fn in_flight_at(&self, url: &HttpUrl) -> u64 {
        let live = (self.pools.values())
            .flat_map(|pool| pool.replicas.values())
            .filter(|replica| replica.handoff.url == *url)
            .map(|replica| replica.claimed);
        let retired = (self.retired.iter())
            .filter(|retired| retired.handoff.url == *url)
            .map(|retired| retired.claimed);
        live.chain(retired).map(u64::from).sum()
    }

    /// The number of leases of a pool, with those of replicas that are retired or scaled to zero.
    pub(crate) fn in_flight_of(&self, pool_id: &PoolId) -> u64 {
        self.leases(pool_id, |_| true)
    }

    /// The same of one replica.
    pub(crate) fn in_flight_of_replica(&self, pool_id: &PoolId, replica_id: &ReplicaId) -> u64 {
        self.leases(pool_id, |id| id == replica_id)
    }

    fn leases(&self, pool_id: &PoolId, of: impl Fn(&ReplicaId) -> bool) -> u64 {
        let pool = || self.pools.get(pool_id).into_iter();
        let live = pool()
            .flat_map(|pool| &pool.replicas)
            .map(|(id, replica)| (id, replica.claimed));
        let scaled_to_zero = pool()
            .flat_map(|pool| &pool.scaled_to_zero)
            .map(|(id, replica)| (id, replica.claimed));
        let retired = (self.retired.iter())
            .filter(|retired| retired.handoff.pool_id == *pool_id)
            .map(|retired| (&retired.handoff.replica_id, retired.claimed));
        let all = live.chain(scaled_to_zero).chain(retired);
        all.filter(|(id, _)| of(id))
            .map(|(_, claimed)| u64::from(claimed))
            .sum()
    }
}
