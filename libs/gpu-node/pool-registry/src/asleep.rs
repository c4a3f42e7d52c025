//! Engines that are stopped while nobody needs them. Their slots are promised: who claims one waits
//! for the engine.

use std::{collections::BTreeMap, sync::Arc};

use pool_registry_types::{
    Handoff, MAX_POOLS, MAX_REPLICAS, PoolId, ReplicaId, ReplicaStatus, Slots,
};

use crate::{
    PoolRegistry, SlotLease,
    claim::ClaimError,
    core::{Claimed, Core, News, Pool},
};

/// Why a request that waited for an engine gets none, when nobody says more.
const NOT_WOKEN: &str = "its engine was asleep and did not start";

/// The engines of a pool that sleep.
pub(crate) type Sleepers = BTreeMap<ReplicaId, Sleeper>;

/// An engine that sleeps. It is shown as long as no handoff of its name is there.
#[derive(Debug)]
pub(crate) struct Sleeper {
    /// As it was announced before, with its models. Nobody listens at its URL.
    pub(crate) handoff: Arc<Handoff>,
    /// The life that it will have when it wakes.
    pub(crate) generation: u64,
    /// Requests that wait for it. They become its requests when it wakes.
    pub(crate) claimed: u32,
}

impl Sleeper {
    pub(crate) fn free_slots(&self) -> u32 {
        self.handoff.slots.saturating_sub(self.claimed)
    }

    pub(crate) fn names(&self, model: &str) -> bool {
        (self.handoff.models.iter().flatten()).any(|name| name == model)
    }

    fn serves(&self, model: Option<&str>) -> bool {
        model.is_none_or(|model| self.handoff.models.is_none() || self.names(model))
    }

    pub(crate) fn status(&self, draining: bool) -> ReplicaStatus {
        let mut replica = ReplicaStatus::new(self.handoff.replica_id.clone())
            .with_slots(Slots::clamped(self.free_slots(), self.handoff.slots));
        replica.ready = true;
        replica.models = self.handoff.models.clone();
        replica.draining = draining;
        replica.generation = Some(self.generation);
        replica.load.sleeping = Some(true);
        replica
    }
}

impl Pool {
    /// Those that no handoff of the same name hides.
    pub(crate) fn sleepers(&self) -> impl Iterator<Item = (&ReplicaId, &Sleeper)> {
        (self.asleep.iter()).filter(|(id, _)| !self.replicas.contains_key(*id))
    }
}

impl Core {
    /// Takes in that an engine sleeps, or is about to. What it said of its models and slots is kept
    /// in the promise.
    pub(crate) fn set_asleep(&mut self, mut handoff: Handoff) -> (Handoff, News) {
        let (pool_id, replica_id) = (handoff.pool_id.clone(), handoff.replica_id.clone());
        if !self.pools.contains_key(&pool_id) && self.pools.len() >= MAX_POOLS {
            return (handoff, News::No);
        }
        let pool = self.pools.entry(pool_id).or_default();
        if pool.asleep.len() >= MAX_REPLICAS && !pool.asleep.contains_key(&replica_id) {
            return (handoff, News::No);
        }
        if let Some(replica) = pool.replicas.get(&replica_id) {
            let models = replica.models().map(|models| models.to_vec());
            handoff.models = handoff.models.or(models);
            handoff.slots = replica.slots();
        }
        if let Some(sleeper) = pool.asleep.get_mut(&replica_id) {
            sleeper.handoff = Arc::new(handoff.clone());
        } else {
            self.last_generation += 1;
            let sleeper = Sleeper {
                handoff: Arc::new(handoff.clone()),
                generation: self.last_generation,
                claimed: 0,
            };
            pool.asleep.insert(replica_id, sleeper);
        }
        (handoff, News::AtOnce)
    }

    /// Takes a promise back, if it still stands. Who waits for the engine gets none.
    pub(crate) fn forsake(&mut self, promise: &Handoff, reason: Option<&str>) -> bool {
        let (pool_id, replica_id) = (&promise.pool_id, &promise.replica_id);
        let Some(pool) = self.pools.get_mut(pool_id) else {
            return false;
        };
        let stands =
            (pool.asleep.get(replica_id)).is_some_and(|sleeper| sleeper.handoff.url == promise.url);
        if stands {
            pool.asleep.remove(replica_id);
            if let Some(reason) = reason {
                let _news = self.set_absent(pool_id, replica_id, Some(reason.to_owned()));
            }
            self.forget_if_empty(pool_id);
        }
        stands
    }

    /// A promised slot of the sleeper `hint`, when that has one; else of the one that has most of
    /// them, of equals the first by id.
    pub(crate) fn claim_asleep(
        &mut self,
        pool_id: &PoolId,
        model: Option<&str>,
        hint: Option<&ReplicaId>,
        excluded: &[ReplicaId],
    ) -> Option<Claimed> {
        let chosen = self
            .sleeper_for(self.pools.get(pool_id)?, model, hint, excluded)?
            .clone();
        let pool = self.pools.get_mut(pool_id)?;
        pool.claims += 1;
        let sleeper = pool.asleep.get_mut(&chosen)?;
        sleeper.claimed += 1;
        self.in_flight += 1;
        Some(Claimed {
            handoff: sleeper.handoff.clone(),
            generation: sleeper.generation,
        })
    }

    /// Whose promise a claim would get now, when nobody who is awake can take it.
    pub(crate) fn sleeper_for<'a>(
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
        for (id, sleeper) in pool.sleepers() {
            let free = sleeper.free_slots();
            let may = sleeper.serves(model) && !excluded.contains(id) && !pool.drained.contains(id);
            if may && free > 0 && hint == Some(id) {
                return Some(id);
            }
            if may && free > best.map_or(0, |(most, _)| most) {
                best = Some((free, id));
            }
        }
        best.map(|(_, id)| id)
    }

    /// The sleeper that promised the life `generation`.
    pub(crate) fn sleeper_of(
        &mut self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        generation: u64,
    ) -> Option<&mut Sleeper> {
        let sleeper = self.pools.get_mut(pool_id)?.asleep.get_mut(replica_id)?;
        (sleeper.generation == generation).then_some(sleeper)
    }

    /// Whether one waits for the engine.
    pub(crate) fn is_wanted(&self, pool_id: &PoolId, replica_id: &ReplicaId) -> bool {
        let pool = self.pools.get(pool_id);
        pool.and_then(|pool| pool.asleep.get(replica_id))
            .is_some_and(|sleeper| sleeper.claimed > 0)
    }

    /// What became of the engine that a promise is about: it is awake, it still sleeps (`None`), or
    /// it will not come.
    fn woken(
        &self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        generation: u64,
    ) -> Result<Option<Arc<Handoff>>, ClaimError> {
        let pool = self.pools.get(pool_id).ok_or(ClaimError::UnknownPool)?;
        if let Some(replica) = pool.replicas.get(replica_id)
            && replica.generation == generation
        {
            return Ok(Some(replica.handoff.clone()));
        }
        // Nothing was begun, so nothing is lost by going elsewhere.
        if self.is_draining(pool) || pool.drained.contains(replica_id) {
            return Err(ClaimError::Draining);
        }
        let sleeper = pool.asleep.get(replica_id);
        if sleeper.is_some_and(|sleeper| sleeper.generation == generation) {
            return Ok(None);
        }
        let reason = pool.absent.get(replica_id).cloned();
        Err(ClaimError::NotReady(
            reason.unwrap_or_else(|| NOT_WOKEN.into()),
        ))
    }
}

/// A slot of an engine, or of one that sleeps.
#[derive(Debug)]
#[must_use = "dropping the claim gives the slot back"]
pub enum Claim {
    /// The engine is awake.
    Slot(SlotLease),
    /// The engine will be started, because this claim is there.
    Promised(PromisedSlot),
}

impl Claim {
    /// Waits until the engine is awake, which may take as long as a model loads. Dropping it gives
    /// the slot back, and whoever was to wake the engine may go on with that.
    ///
    /// # Errors
    /// When the engine did not start, or takes no new requests any more.
    pub async fn awake(self) -> Result<SlotLease, ClaimError> {
        match self {
            Self::Slot(lease) => Ok(lease),
            Self::Promised(slot) => slot.awake().await,
        }
    }
}

/// A slot of an engine that sleeps.
#[derive(Debug)]
pub struct PromisedSlot {
    /// Of the engine as it was. It holds the slot, and knows not yet where the engine will listen.
    lease: SlotLease,
}

impl PromisedSlot {
    pub(crate) fn new(lease: SlotLease) -> Self {
        Self { lease }
    }

    /// Which of the pool's engines it is.
    #[must_use]
    pub fn replica_id(&self) -> &ReplicaId {
        self.lease.replica_id()
    }

    /// See [`Claim::awake`].
    ///
    /// # Errors
    /// When the engine did not start, or takes no new requests any more.
    pub async fn awake(mut self) -> Result<SlotLease, ClaimError> {
        let registry = self.lease.registry().clone();
        let mut changes = registry.sleepers();
        loop {
            // Marked as seen before looking, so that a change in between is not missed.
            changes.borrow_and_update();
            let lease = &self.lease;
            let (pool, replica, generation) =
                (lease.pool_id(), lease.replica_id(), lease.generation());
            if let Some(handoff) =
                registry.with_core(|core| core.woken(pool, replica, generation))?
            {
                self.lease.listens_as(handoff);
                return Ok(self.lease);
            }
            if changes.changed().await.is_err() {
                return Err(ClaimError::NotReady(NOT_WOKEN.into()));
            }
        }
    }
}

impl PoolRegistry {
    /// Says that an engine is stopped until somebody needs it: it stays offered as `handoff`
    /// describes it, and the first claim wakes it, see [`wanted`](Self::wanted). Until a
    /// handoff of that name is gone, the handoff counts.
    ///
    /// Returns the handoff with the models that the engine named, when `handoff` names none.
    pub fn set_asleep(&self, handoff: Handoff) -> Handoff {
        let (handoff, news) = self.with_core(|core| core.set_asleep(handoff));
        self.tell(news);
        self.tell_sleepers();
        handoff
    }

    /// Takes back what [`set_asleep`](Self::set_asleep) promised, and says why. An engine that is
    /// announced keeps its promise by that, so this is for one that is not. False when there is
    /// nothing to take back: the promise was kept, or the engine at another URL has made one of
    /// its own.
    pub fn forsake(&self, promise: &Handoff, reason: Option<&str>) -> bool {
        let stood = self.with_core(|core| core.forsake(promise, reason));
        if stood {
            self.tell(News::AtOnce);
            self.tell_sleepers();
        }
        stood
    }

    /// Returns when a request waits for this engine, which sleeps.
    pub async fn wanted(&self, pool_id: &PoolId, replica_id: &ReplicaId) {
        let mut changes = self.sleepers();
        loop {
            changes.borrow_and_update();
            if self.with_core(|core| core.is_wanted(pool_id, replica_id)) {
                return;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}
