//! Scale to zero: replicas whose engine is stopped until a request needs it. Their slots can be
//! claimed; the claim waits for the engine.

use std::sync::Arc;

use pool_registry_types::{Handoff, MAX_POOLS, MAX_REPLICAS, PoolId, ReplicaId};

use crate::{
    claim::{ClaimError, ClaimedSlot},
    core::{Pool, RegistryCore, ReportUrgency},
    engine_key::EngineKey,
    replica::ScaledToZeroReplica,
};

/// The error of a request that waited for an engine, when no other reason is known.
pub(crate) const NOT_STARTED: &str = "its engine was scaled to zero and did not start";

/// An engine that was started for a claim.
#[derive(Debug)]
pub(crate) struct StartedEngine {
    pub(crate) handoff: Arc<Handoff>,
    pub(crate) key: Option<EngineKey>,
}

impl RegistryCore {
    /// Records that an engine is scaled to zero, or is about to be. The offer keeps the models and
    /// slots that the engine reported.
    pub(crate) fn set_scaled_to_zero(&mut self, mut handoff: Handoff) -> (Handoff, ReportUrgency) {
        let (pool_id, replica_id) = (handoff.pool_id.clone(), handoff.replica_id.clone());
        if !self.pools.contains_key(&pool_id) && self.pools.len() >= MAX_POOLS {
            return (handoff, ReportUrgency::None);
        }
        let pool = self.pools.entry(pool_id).or_default();
        let offered = &mut pool.scaled_to_zero;
        if offered.len() >= MAX_REPLICAS && !offered.contains_key(&replica_id) {
            return (handoff, ReportUrgency::None);
        }
        if let Some(replica) = pool.replicas.get(&replica_id) {
            let models = replica.models().map(|models| models.to_vec());
            handoff.models = handoff.models.or(models);
            handoff.set_slots(replica.slots());
        }
        if let Some(replica) = offered.get_mut(&replica_id) {
            replica.handoff = Arc::new(handoff.clone());
        } else {
            self.last_generation += 1;
            let replica = ScaledToZeroReplica {
                handoff: Arc::new(handoff.clone()),
                generation: self.last_generation,
                claimed: 0,
            };
            offered.insert(replica_id, replica);
        }
        (handoff, ReportUrgency::Immediate)
    }

    /// Withdraws an offer, if it still stands. Requests that wait for the engine fail.
    pub(crate) fn withdraw_offer(&mut self, offer: &Handoff, reason: Option<&str>) -> bool {
        let (pool_id, replica_id) = (&offer.pool_id, &offer.replica_id);
        let Some(pool) = self.pools.get_mut(pool_id) else {
            return false;
        };
        let offered = pool.scaled_to_zero.get(replica_id);
        let stands = offered.is_some_and(|replica| replica.handoff.url == offer.url);
        if stands {
            pool.scaled_to_zero.remove(replica_id);
            if let Some(reason) = reason {
                let _urgency = self.set_absent(pool_id, replica_id, Some(reason.to_owned()));
            }
            self.forget_if_empty(pool_id);
        }
        stands
    }

    /// Claims a slot of a replica that is scaled to zero: of `hint` when it has a free one, else of
    /// the replica with the most free ones; of equals, the first by id.
    pub(crate) fn claim_scaled_to_zero(
        &mut self,
        pool_id: &PoolId,
        model: Option<&str>,
        hint: Option<&ReplicaId>,
        excluded: &[ReplicaId],
    ) -> Option<ClaimedSlot> {
        let chosen = self
            .scaled_to_zero_candidate(self.pools.get(pool_id)?, model, hint, excluded)?
            .clone();
        let pool = self.pools.get_mut(pool_id)?;
        pool.claims += 1;
        let replica = pool.scaled_to_zero.get_mut(&chosen)?;
        replica.claimed += 1;
        self.in_flight += 1;
        Some(ClaimedSlot {
            handoff: replica.handoff.clone(),
            generation: replica.generation,
            // It is read when the engine starts.
            key: None,
        })
    }

    /// The replica scaled to zero that a claim would get now.
    pub(crate) fn scaled_to_zero_candidate<'a>(
        &self,
        pool: &'a Pool,
        model: Option<&str>,
        hint: Option<&ReplicaId>,
        excluded: &[ReplicaId],
    ) -> Option<&'a ReplicaId> {
        if self.is_draining(pool) {
            return None;
        }
        let mut best: Option<(u32, &ReplicaId)> = None;
        for (id, replica) in pool.scaled_to_zero_replicas() {
            let free = replica.free_slots();
            let may = replica.serves(model) && !excluded.contains(id) && !pool.drained.contains(id);
            if may && free > 0 && hint == Some(id) {
                return Some(id);
            }
            if may && free > best.map_or(0, |(most, _)| most) {
                best = Some((free, id));
            }
        }
        best.map(|(_, id)| id)
    }

    /// Whether a request waits for the engine.
    pub(crate) fn has_demand(&self, pool_id: &PoolId, replica_id: &ReplicaId) -> bool {
        let pool = self.pools.get(pool_id);
        pool.and_then(|pool| pool.scaled_to_zero.get(replica_id))
            .is_some_and(|replica| replica.claimed > 0)
    }

    /// The engine that was started for a claim; `None` while it is starting.
    pub(crate) fn started_handoff(
        &self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        generation: u64,
    ) -> Result<Option<StartedEngine>, ClaimError> {
        let pool = self.pools.get(pool_id).ok_or(ClaimError::UnknownPool)?;
        if let Some(replica) = pool.replicas.get(replica_id)
            && replica.generation == generation
        {
            return Ok(Some(StartedEngine {
                handoff: replica.handoff.clone(),
                key: replica.key().cloned(),
            }));
        }
        // The request was not sent yet, so it can go to another replica without loss.
        if self.is_draining(pool) || pool.drained.contains(replica_id) {
            return Err(ClaimError::Draining);
        }
        let offered = pool.scaled_to_zero.get(replica_id);
        if offered.is_some_and(|replica| replica.generation == generation) {
            return Ok(None);
        }
        let reason = pool.absent.get(replica_id).cloned();
        Err(ClaimError::NotReady(
            reason.unwrap_or_else(|| NOT_STARTED.into()),
        ))
    }
}
