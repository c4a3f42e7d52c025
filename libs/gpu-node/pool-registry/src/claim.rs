//! Claims: which running replica gets a request, or why none does.

use std::{borrow::Cow, sync::Arc};

use pool_registry_types::{ErrorCode, Handoff, PoolId, ReplicaId};
use thiserror::Error;

use crate::{
    core::{NO_ENGINE, Pool, RegistryCore},
    engine_key::EngineKey,
    replica::Replica,
};

/// The error when every replica that could serve the request is excluded.
const ALL_EXCLUDED: &str = "every engine that could serve it has been tried";

/// Why a slot was not given.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClaimError {
    /// The node has no such pool.
    #[error("there is no such pool on this node")]
    UnknownPool,
    /// The pool has engines, and none of them serves the model.
    #[error("no engine of this pool serves the model")]
    ModelNotAvailable,
    /// Every slot that could serve the request is taken.
    #[error("every slot is taken")]
    Busy,
    /// The pool or the node takes no new requests.
    #[error("the pool is draining")]
    Draining,
    /// No engine that could serve the request is ready; the reason is for people.
    #[error("no engine is ready: {0}")]
    NotReady(Arc<str>),
}

impl ClaimError {
    /// The error code for the caller.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownPool => ErrorCode::NotFound,
            Self::ModelNotAvailable => ErrorCode::ModelNotAvailable,
            Self::Busy => ErrorCode::PoolBusy,
            Self::Draining => ErrorCode::PoolDraining,
            Self::NotReady(_) => ErrorCode::PoolUnavailable,
        }
    }
}

/// A slot that was given: the engine, and the generation to release it to.
#[derive(Debug)]
pub(crate) struct ClaimedSlot {
    pub(crate) handoff: Arc<Handoff>,
    pub(crate) generation: u64,
    pub(crate) key: Option<EngineKey>,
}

impl RegistryCore {
    /// Gives a slot of the replica `hint` when it can take the request. Otherwise gives a slot of
    /// the replica with the most free ones; of equals, the first by id. Replicas in `excluded`
    /// are not used.
    pub(crate) fn claim(
        &mut self,
        pool_id: &PoolId,
        model: Option<&str>,
        hint: Option<&ReplicaId>,
        excluded: &[ReplicaId],
    ) -> Result<ClaimedSlot, ClaimError> {
        let hinted = hint.filter(|hint| self.can_take(pool_id, hint, model, excluded));
        let chosen: Cow<'_, ReplicaId> = match hinted {
            Some(hint) => Cow::Borrowed(hint),
            None => Cow::Owned(self.candidate(pool_id, model, excluded)?.clone()),
        };
        self.take(pool_id, &chosen)
    }

    /// Gives a slot of one replica.
    pub(crate) fn claim_of(
        &mut self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        model: Option<&str>,
        excluded: &[ReplicaId],
    ) -> Result<ClaimedSlot, ClaimError> {
        if self.can_take(pool_id, replica_id, model, excluded) {
            return self.take(pool_id, replica_id);
        }
        let pool = self.pools.get(pool_id).ok_or(ClaimError::UnknownPool)?;
        let replica = (pool.replicas.get(replica_id))
            .filter(|_| !excluded.contains(replica_id))
            .ok_or_else(|| ClaimError::NotReady(ALL_EXCLUDED.into()))?;
        Err(match replica.not_ready() {
            _ if self.is_draining(pool) || pool.drained.contains(replica_id) => {
                ClaimError::Draining
            }
            Some(reason) => ClaimError::NotReady(reason.clone()),
            None if !pool.may_serve(replica, model) => ClaimError::ModelNotAvailable,
            None => ClaimError::Busy,
        })
    }

    fn take(
        &mut self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
    ) -> Result<ClaimedSlot, ClaimError> {
        let pool = self.pools.get_mut(pool_id).ok_or(ClaimError::UnknownPool)?;
        pool.claims += 1;
        let replica = (pool.replicas.get_mut(replica_id)).ok_or(ClaimError::UnknownPool)?;
        replica.claimed += 1;
        self.in_flight += 1;
        Ok(ClaimedSlot {
            handoff: replica.handoff.clone(),
            generation: replica.generation,
            key: replica.key().cloned(),
        })
    }

    /// Whether one replica can take a request now.
    fn can_take(
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

    /// The replica that a claim without a hint would get now.
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
                    why_not = ClaimError::NotReady(ALL_EXCLUDED.into());
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
            // A full replica is the stronger reason: it will serve requests again soon.
            why_not = ClaimError::Busy;
            let free = self.free_slots(replica);
            if free > best.map_or(0, |(most, _)| most) {
                best = Some((free, id));
            }
        }
        let offers_model = (pool.scaled_to_zero_replicas())
            .filter(|(id, _)| !pool.drained.contains(*id))
            .any(|(_, replica)| model.is_none_or(|model| replica.names(model)));
        if offers_model {
            why_not = ClaimError::Busy;
        }
        if pool.replicas.is_empty() && pool.scaled_to_zero.is_empty() {
            why_not = ClaimError::NotReady(NO_ENGINE.into());
        }
        best.map(|(_, id)| id).ok_or(why_not)
    }
}
