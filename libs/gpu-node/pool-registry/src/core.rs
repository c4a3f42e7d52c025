//! The decisions: which replica gets a request, and what each event changes. No I/O, no lock, no
//! clock.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use pool_registry_types::{Handoff, HttpUrl, MAX_POOLS, MAX_REPLICAS, PoolId, ReplicaId};
use thiserror::Error;

use crate::{
    absent::Absent,
    asleep::Sleepers,
    claim::ClaimError,
    probe::{Change, ProbeOutcome},
    refused::Refused,
    replica::{Replica, Retired},
};

/// What a pool without a single replica says of itself.
pub(crate) const NO_ENGINE: &str = "no engine has been announced";

/// Why nobody else takes a request, when those that could have been excluded.
const EXCLUDED: &str = "every engine that could serve it has been tried";

/// Why a handoff was not taken in: a heartbeat could not carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UpsertError {
    /// The node has as many pools as it may have.
    #[error("a node has at most {MAX_POOLS} pools")]
    TooManyPools,
    /// The pool has as many replicas as it may have.
    #[error("a pool has at most {MAX_REPLICAS} replicas")]
    TooManyReplicas,
}

/// Whether an event changed something that a heartbeat must say at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum News {
    AtOnce,
    No,
}

impl From<bool> for News {
    fn from(changed: bool) -> Self {
        if changed { Self::AtOnce } else { Self::No }
    }
}

/// One pool.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Named in the configuration: it is reported also without replicas.
    pub(crate) configured: bool,
    pub(crate) draining: bool,
    /// Replicas that an operator drains, whether they are there or not.
    pub(crate) drained: BTreeSet<ReplicaId>,
    pub(crate) vram_free_bytes: u64,
    pub(crate) replicas: BTreeMap<ReplicaId, Replica>,
    pub(crate) absent: Absent,
    pub(crate) asleep: Sleepers,
    /// How many claims there ever were.
    pub(crate) claims: u64,
}

impl Pool {
    /// Whether one of its replicas, awake or not, names `model`.
    fn names(&self, model: &str) -> bool {
        self.replicas.values().any(|replica| replica.names(model))
            || self.sleepers().any(|(_, sleeper)| sleeper.names(model))
    }

    /// Whether a request for `model` may go to `replica`: it names the model, or has named none and
    /// no other one does.
    fn may_serve(&self, replica: &Replica, model: Option<&str>) -> bool {
        model.is_none_or(|model| {
            replica.names(model) || (replica.models().is_none() && !self.names(model))
        })
    }
}

/// A slot that was given: what its holder needs to know, and what gives it back.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) handoff: Arc<Handoff>,
    pub(crate) generation: u64,
}

/// What a release brought about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Released {
    pub(crate) news: News,
    /// No lease of the node is left.
    pub(crate) idle: bool,
}

/// The pools and replicas of one node.
#[derive(Debug, Default)]
pub(crate) struct Core {
    pub(crate) pools: BTreeMap<PoolId, Pool>,
    /// Almost always empty: handoffs rarely change under load.
    pub(crate) retired: Vec<Retired>,
    pub(crate) draining: bool,
    pub(crate) in_flight: usize,
    pub(crate) refused: Refused,
    pub(crate) last_generation: u64,
}

impl Core {
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

    /// Takes in a new or changed handoff.
    pub(crate) fn upsert(&mut self, handoff: Handoff) -> Result<News, UpsertError> {
        if !self.pools.contains_key(&handoff.pool_id) && self.pools.len() >= MAX_POOLS {
            return Err(UpsertError::TooManyPools);
        }
        let pool = self.pools.entry(handoff.pool_id.clone()).or_default();
        let full = pool.replicas.len() >= MAX_REPLICAS;
        match pool.replicas.get_mut(&handoff.replica_id) {
            Some(replica) if replica.is_same_engine(&handoff) => {
                return Ok(replica.announce_again(handoff).into());
            }
            None if full => return Err(UpsertError::TooManyReplicas),
            _ => {}
        }
        let fresh = if let Some(sleeper) = pool.asleep.remove(&handoff.replica_id) {
            // Who waited for it has it now.
            Replica::woken(handoff, sleeper.generation, sleeper.claimed)
        } else {
            self.last_generation += 1;
            Replica::new(handoff, self.last_generation)
        };
        if let Some(old) = pool
            .replicas
            .insert(fresh.handoff.replica_id.clone(), fresh)
        {
            self.retire(old);
        }
        Ok(News::AtOnce)
    }

    /// Retires the replica whose handoff is gone.
    pub(crate) fn remove(&mut self, pool_id: &PoolId, replica_id: &ReplicaId) -> News {
        let Some(old) = self
            .pools
            .get_mut(pool_id)
            .and_then(|pool| pool.replicas.remove(replica_id))
        else {
            return News::No;
        };
        self.retire(old);
        self.forget_if_empty(pool_id);
        News::AtOnce
    }

    fn retire(&mut self, old: Replica) {
        if old.claimed > 0 {
            self.retired.push(Retired {
                handoff: old.handoff,
                generation: old.generation,
                claimed: old.claimed,
            });
        }
    }

    /// A pool that nobody configured lives as long as something of it does, or an operator drains
    /// it.
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
            && pool.asleep.is_empty()
        {
            self.pools.remove(pool_id);
        }
    }

    /// Takes in what a probe found of one life of a replica; of another life it is no news.
    pub(crate) fn probed(
        &mut self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        generation: u64,
        outcome: ProbeOutcome,
    ) -> (News, Vec<Change>) {
        let replica = self
            .pools
            .get_mut(pool_id)
            .and_then(|pool| pool.replicas.get_mut(replica_id))
            .filter(|replica| replica.generation == generation);
        let Some(replica) = replica else {
            return (News::No, Vec::new());
        };
        let models_before = replica.models().cloned();
        let changes = replica.probed(outcome);
        let models_changed = models_before.as_deref() != replica.models().map(|models| &**models);
        ((models_changed || !changes.is_empty()).into(), changes)
    }

    /// The slots of `replica` that are free now. A life of the same engine that is already retired
    /// may still use some of them.
    pub(crate) fn free_slots(&self, replica: &Replica) -> u32 {
        replica.slots().saturating_sub(self.busy_slots(replica))
    }

    /// The slots of `replica` that are taken now, by earlier lives of the same engine too.
    pub(crate) fn busy_slots(&self, replica: &Replica) -> u32 {
        let earlier_lives = (self.retired.iter())
            .filter(|retired| retired.handoff.url == replica.handoff.url)
            .map(|retired| retired.claimed);
        earlier_lives.fold(replica.claimed, u32::saturating_add)
    }

    /// Gives a slot of the replica `hint`, when that can take the request; else of the one with the
    /// most free ones, of equals the first by id. It is none of `excluded`.
    pub(crate) fn claim(
        &mut self,
        pool_id: &PoolId,
        model: Option<&str>,
        hint: Option<&ReplicaId>,
        excluded: &[ReplicaId],
    ) -> Result<Claimed, ClaimError> {
        let hinted = hint.filter(|hint| self.takes(pool_id, hint, model, excluded));
        let chosen: Cow<'_, ReplicaId> = match hinted {
            Some(hint) => Cow::Borrowed(hint),
            None => Cow::Owned(self.candidate(pool_id, model, excluded)?.clone()),
        };
        let pool = self.pools.get_mut(pool_id).ok_or(ClaimError::UnknownPool)?;
        pool.claims += 1;
        let replica = (pool.replicas.get_mut(&*chosen)).ok_or(ClaimError::UnknownPool)?;
        replica.claimed += 1;
        self.in_flight += 1;
        Ok(Claimed {
            handoff: replica.handoff.clone(),
            generation: replica.generation,
        })
    }

    /// Whether one replica can take a request now.
    fn takes(
        &self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        model: Option<&str>,
        excluded: &[ReplicaId],
    ) -> bool {
        let Some(pool) = self.pools.get(pool_id) else {
            return false;
        };
        let Some(replica) = pool.replicas.get(replica_id) else {
            return false;
        };
        !self.is_draining(pool)
            && !pool.drained.contains(replica_id)
            && !excluded.contains(replica_id)
            && replica.not_ready().is_none()
            && pool.may_serve(replica, model)
            && self.free_slots(replica) > 0
    }

    /// The replica a claim without a hint would get now.
    pub(crate) fn candidate(
        &self,
        pool_id: &PoolId,
        model: Option<&str>,
        excluded: &[ReplicaId],
    ) -> Result<&ReplicaId, ClaimError> {
        let pool = self.pools.get(pool_id).ok_or(ClaimError::UnknownPool)?;
        if self.is_draining(pool) {
            return Err(ClaimError::Draining);
        }
        self.choose(pool, model, excluded)
    }

    fn choose<'a>(
        &self,
        pool: &'a Pool,
        model: Option<&str>,
        excluded: &[ReplicaId],
    ) -> Result<&'a ReplicaId, ClaimError> {
        let serves = |replica: &Replica| pool.may_serve(replica, model);
        let mut why_not = ClaimError::ModelNotAvailable;
        let mut best: Option<(u32, &ReplicaId)> = None;
        for (id, replica) in pool.replicas.iter().filter(|(_, replica)| serves(replica)) {
            if excluded.contains(id) {
                if why_not == ClaimError::ModelNotAvailable {
                    why_not = ClaimError::NotReady(EXCLUDED.into());
                }
                continue;
            }
            if pool.drained.contains(id) {
                if why_not == ClaimError::ModelNotAvailable {
                    why_not = ClaimError::Draining;
                }
                continue;
            }
            if let Some(reason) = replica.not_ready() {
                if matches!(
                    why_not,
                    ClaimError::ModelNotAvailable | ClaimError::Draining
                ) {
                    why_not = ClaimError::NotReady(reason.clone());
                }
                continue;
            }
            // A ready one is only full, and that outweighs another one's being broken.
            why_not = ClaimError::Busy;
            let free = self.free_slots(replica);
            if free > best.map_or(0, |(most, _)| most) {
                best = Some((free, id));
            }
        }
        for (_, sleeper) in pool
            .sleepers()
            .filter(|(id, _)| !pool.drained.contains(*id))
        {
            if model.is_none_or(|model| sleeper.names(model)) {
                why_not = ClaimError::Busy;
            }
        }
        if pool.replicas.is_empty() && pool.asleep.is_empty() {
            why_not = ClaimError::NotReady(NO_ENGINE.into());
        }
        best.map(|(_, id)| id).ok_or(why_not)
    }

    /// Takes a slot back, from the life of the replica that gave it.
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
        let news = if let Some(replica) = live {
            replica.claimed = replica.claimed.saturating_sub(1);
            // Where nothing new may begin, it counted only because of its requests.
            (is_drained || replica.not_ready().is_some()).into()
        } else if let Some(sleeper) = self.sleeper_of(pool_id, replica_id, generation) {
            sleeper.claimed = sleeper.claimed.saturating_sub(1);
            News::No
        } else {
            self.release_retired(pool_id, generation)
        };
        Released {
            news,
            idle: self.in_flight == 0,
        }
    }

    fn release_retired(&mut self, pool_id: &PoolId, generation: u64) -> News {
        let Some(index) = self
            .retired
            .iter()
            .position(|retired| retired.generation == generation)
        else {
            return News::No;
        };
        let Some(retired) = self.retired.get_mut(index) else {
            return News::No;
        };
        retired.claimed = retired.claimed.saturating_sub(1);
        if retired.claimed == 0 {
            self.retired.swap_remove(index);
            self.forget_if_empty(pool_id);
        }
        News::AtOnce
    }

    /// The leases of the engine at `url`, those of its earlier lives included.
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

    /// The leases of a pool, those of its retired replicas and of those that sleep included.
    pub(crate) fn in_flight_of(&self, pool_id: &PoolId) -> u64 {
        self.held(pool_id, |_| true)
    }

    /// The same of one replica.
    pub(crate) fn in_flight_of_replica(&self, pool_id: &PoolId, replica_id: &ReplicaId) -> u64 {
        self.held(pool_id, |id| id == replica_id)
    }

    fn held(&self, pool_id: &PoolId, of: impl Fn(&ReplicaId) -> bool) -> u64 {
        let pool = || self.pools.get(pool_id).into_iter();
        let live = pool()
            .flat_map(|pool| &pool.replicas)
            .map(|(id, replica)| (id, replica.claimed));
        let asleep = pool()
            .flat_map(|pool| &pool.asleep)
            .map(|(id, sleeper)| (id, sleeper.claimed));
        let retired = (self.retired.iter())
            .filter(|retired| retired.handoff.pool_id == *pool_id)
            .map(|retired| (&retired.handoff.replica_id, retired.claimed));
        let all = live.chain(asleep).chain(retired).filter(|(id, _)| of(id));
        all.map(|(_, claimed)| u64::from(claimed)).sum()
    }
}
