//! The decisions: which request gets a slot, which one waits, which one is woken.
//!
//! The core is pure: `(state, event, now) → (state, effects)`. `now` counts from an origin of the
//! caller's choice. `W` wakes a waiting request; the core stores it and returns it with the
//! [`Grant`].
//!
//! Every event may free a slot, because it may notice that a pause is over. The effects accumulate
//! in the core; the caller takes them with [`AdmissionCore::take_effects`] after every event.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod affinity;
mod context;
pub(crate) mod estimate;
pub(crate) mod grant;
mod release;
mod routes;
mod serve;
#[cfg(test)]
mod tests;
pub(crate) mod view;

use std::{collections::HashMap, sync::Arc, time::Duration};

use placement::{
    Conversations, Loads, PlacementError, PlacementQuery, PrefixIndex, Strategy, sticky_endpoint,
};
use routing_table::{Endpoint, EndpointKey, EndpointState, RoutingTable};

use crate::{
    circuit_breaker::{BreakerChange, EndpointFailure},
    config::AdmissionConfig,
    deadlines::Deadlines,
    fair_queue::FairQueue,
    queue::Queue,
    queued_request::QueuedRequest,
    request::{AcquireRequest, ContextNeed, Refusal, RefusalReason, RoutingPreference, Ticket},
    round_robin::RoundRobinCounters,
    slots::Slots,
};

use grant::Grant;

/// What the caller does after an event, without the lock.
#[derive(Debug)]
#[must_use = "a request that is not woken keeps waiting while it holds a slot"]
pub(crate) struct Effects<W> {
    /// Waiting requests that got a slot.
    pub(crate) granted: Vec<(W, Grant)>,
    /// Waiting requests that made room for one of another flow.
    pub(crate) displaced: Vec<(W, Refusal)>,
    /// Breakers that opened or closed.
    pub(crate) breaker_changes: Vec<BreakerChange>,
}

impl<W> Default for Effects<W> {
    fn default() -> Self {
        Self {
            granted: Vec::new(),
            displaced: Vec::new(),
            breaker_changes: Vec::new(),
        }
    }
}

/// The result of a request for a slot.
#[derive(Debug)]
pub(crate) enum AcquireDecision {
    Granted(Grant),
    /// The request waits. `is_known_model`: an endpoint serves the model, available or not.
    Queued {
        ticket: Ticket,
        is_known_model: bool,
    },
    Refused(Refusal),
}

/// All slots and queues. Slots, loads and deadlines have the indices of the table.
pub(crate) struct AdmissionCore<W> {
    config: AdmissionConfig,
    table: RoutingTable,
    /// `None` where the table has no endpoint.
    slots: Vec<Option<Slots>>,
    /// A copy of the slots' loads, in the form that placement reads.
    loads: Loads,
    /// When time alone changes a load next.
    deadlines: Deadlines,
    /// Slots of endpoints that left the table while own requests still run there.
    departed: HashMap<EndpointKey, Slots>,
    /// Queues by model; empty queues are removed.
    queues: HashMap<String, Queue<W>>,
    last_ticket: u64,
    round_robin: RoundRobinCounters,
    prefixes: PrefixIndex,
    conversations: Conversations,
    /// No endpoint has ever had a smaller known context.
    smallest_context: u32,
    /// Effects that the caller has not taken yet.
    effects: Effects<W>,
}

impl<W> AdmissionCore<W> {
    pub(crate) fn new(config: AdmissionConfig) -> Self {
        Self {
            config,
            table: RoutingTable::default(),
            slots: Vec::new(),
            loads: Loads::default(),
            deadlines: Deadlines::default(),
            departed: HashMap::new(),
            queues: HashMap::new(),
            last_ticket: 0,
            round_robin: RoundRobinCounters::default(),
            prefixes: PrefixIndex::new(),
            conversations: Conversations::default(),
            smallest_context: u32::MAX,
            effects: Effects::default(),
        }
    }

    /// The endpoints.
    pub(crate) fn table(&self) -> &RoutingTable {
        &self.table
    }

    /// Takes the effects of all events since the last call.
    pub(crate) fn take_effects(&mut self) -> Effects<W> {
        std::mem::take(&mut self.effects)
    }

    /// Requests a slot. `waker` is called only if the request has to wait.
    pub(crate) fn acquire(
        &mut self,
        request: &AcquireRequest<'_>,
        now: Duration,
        waker: impl FnOnce() -> W,
    ) -> AcquireDecision {
        self.apply_deadlines(now);
        let ticket = request.ticket.unwrap_or_else(|| {
            self.last_ticket = self.last_ticket.saturating_add(1);
            Ticket(self.last_ticket)
        });
        // A request never overtakes a waiting one that could use the same slot.
        let is_next = self
            .queues
            .get(request.model)
            .is_none_or(|queue| match request.ticket {
                None => queue.is_next(request.priority),
                Some(ticket) => queue.is_retry_next(request.priority, request.flow, ticket),
            });
        if is_next {
            match self.choose_endpoint(request.model, request.preference, request.tried) {
                Ok(index) => {
                    let grant = self.claim(request.model, index, ticket, request.preference, now);
                    if let Some(grant) = grant {
                        return AcquireDecision::Granted(grant);
                    }
                }
                Err(PlacementError::UnknownModel) if now >= self.config.warm_up => {
                    return self.refuse(RefusalReason::UnknownModel, request.model, now);
                }
                Err(PlacementError::NoneRoutable) if self.is_exhausted(request) => {
                    return self.refuse(RefusalReason::Exhausted, request.model, now);
                }
                Err(_) => {}
            }
        }
        if request.ticket.is_none() && !self.make_room(request, now) {
            return self.refuse(RefusalReason::QueueFull, request.model, now);
        }
        let queue = self.queues.entry(request.model.to_owned()).or_default();
        let waiting = QueuedRequest {
            waker: waker(),
            preference: request.preference.clone(),
            tried: request.tried.to_vec(),
            flow: request.flow.key.cloned(),
        };
        queue.insert(request.priority, ticket, request.flow, waiting);
        AcquireDecision::Queued {
            ticket,
            is_known_model: self.is_known(request.model),
        }
    }

    /// Whether there is room in the queue for a new request. If the queue is full, a request of a
    /// flow with more of them makes room.
    fn make_room(&mut self, request: &AcquireRequest<'_>, now: Duration) -> bool {
        let queue = self.queues.get(request.model);
        let queue = queue.map(|queue| queue.of_priority(request.priority));
        if queue.map_or(0, FairQueue::len) < self.config.queue_limit {
            return true;
        }
        let Some(displaced) = queue.and_then(|queue| queue.displaced_by(request.flow)) else {
            return false;
        };
        // First, because the estimate counts it.
        let refusal = self.refusal(RefusalReason::QueueFull, request.model, now);
        if let Some(displaced) = self.dequeue(request.model, displaced) {
            self.effects.displaced.push((displaced.waker, refusal));
        }
        true
    }

    /// A waiting request leaves the queue. Returns whether it was still there.
    ///
    /// This helps no other request: an unrestricted request waits only while no endpoint has a free
    /// slot, and a restricted request blocks no others.
    pub(crate) fn leave(&mut self, model: &str, ticket: Ticket) -> bool {
        self.dequeue(model, ticket).is_some()
    }

    /// The wait of a request is over, and it leaves the queue. `None`: it got a slot before, or by
    /// this call.
    ///
    /// A model that was known when the request came (`is_known_model`) is expected to return.
    pub(crate) fn time_out(
        &mut self,
        model: &str,
        ticket: Ticket,
        is_known_model: bool,
        now: Duration,
    ) -> Option<Refusal> {
        self.apply_deadlines(now);
        let request = self.dequeue(model, ticket)?;
        let reason = match self.choose_endpoint(model, &request.preference, &request.tried) {
            Err(PlacementError::UnknownModel) if !is_known_model => RefusalReason::UnknownModel,
            Err(PlacementError::UnknownModel | PlacementError::NoneRoutable) => {
                RefusalReason::NoneRoutable
            }
            Err(PlacementError::Full) | Ok(_) => RefusalReason::QueueFull,
        };
        Some(self.refusal(reason, model, now))
    }

    /// Whether an endpoint may serve the model, now or later.
    pub(crate) fn is_known(&self, model: &str) -> bool {
        !self.table.candidates(model).is_empty()
    }

    fn dequeue(&mut self, model: &str, ticket: Ticket) -> Option<QueuedRequest<W>> {
        let queue = self.queues.get_mut(model)?;
        let request = queue.remove(ticket);
        if queue.is_empty() {
            self.queues.remove(model);
        }
        request
    }

    /// Time has passed: applies ended backoffs, pauses and old reports.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.apply_deadlines(now);
    }

    /// When time alone helps a waiting request next; `None` while none waits.
    pub(crate) fn next_wakeup(&self) -> Option<Duration> {
        self.deadlines.next().filter(|_| !self.queues.is_empty())
    }

    fn choose_endpoint(
        &self,
        model: &str,
        preference: &RoutingPreference,
        tried: &[Arc<Endpoint>],
    ) -> Result<u32, PlacementError> {
        let mut skipped = self.tried_indices(tried);
        let ContextNeed { at_least, likely } = preference.context;
        self.skip_smaller(model, at_least, &mut skipped);
        if likely.is_some_and(|likely| self.smallest_context < likely) {
            let mut with_estimate = skipped.clone();
            self.skip_smaller(model, likely, &mut with_estimate);
            if with_estimate.len() > skipped.len()
                && let Ok(index) = self.choose_other(model, preference, &with_estimate)
            {
                return Ok(index);
            }
        }
        self.choose_other(model, preference, &skipped)
    }

    /// Chooses an endpoint that is not in `skipped`.
    fn choose_other(
        &self,
        model: &str,
        preference: &RoutingPreference,
        skipped: &[u32],
    ) -> Result<u32, PlacementError> {
        let query = self.placement_query(model, preference, skipped);
        if let Some(index) = sticky_endpoint(&self.table, &self.loads, &query) {
            return Ok(index);
        }
        let prefix = (preference.strategy == Strategy::Prefix)
            .then(|| self.prefixes.find(&preference.affinity.blocks));
        let prefix = prefix.as_ref();
        let query = PlacementQuery { prefix, ..query };
        placement::choose(&self.table, &self.loads, &query)
    }

    /// The query for placement, without the prefix match.
    fn placement_query<'a>(
        &self,
        model: &'a str,
        preference: &'a RoutingPreference,
        tried: &'a [u32],
    ) -> PlacementQuery<'a> {
        PlacementQuery {
            model,
            strategy: preference.strategy,
            tried,
            turn: self.round_robin.get(model),
            pin: preference.pin.as_ref(),
            session: preference.affinity.session,
            prefix: None,
            sticky: self.conversation_endpoint(model, preference),
        }
    }

    fn tried_indices(&self, tried: &[Arc<Endpoint>]) -> Vec<u32> {
        let is_same_engine = |known: &Endpoint, tried: &Endpoint| {
            known.incarnation() == tried.incarnation() && known.generation() == tried.generation()
        };
        let indices = tried.iter().filter_map(|tried| {
            let index = self.table.index_of(tried)?;
            is_same_engine(self.table.endpoint(index)?, tried).then_some(index)
        });
        indices.collect()
    }

    /// Whether the request has tried every candidate that it accepts, so that waiting is useless.
    fn is_exhausted(&self, request: &AcquireRequest<'_>) -> bool {
        let mut tried = self.tried_indices(request.tried);
        self.skip_smaller(
            request.model,
            request.preference.context.at_least,
            &mut tried,
        );
        let is_accepted = |index: &&u32| {
            let endpoint = self.table.endpoint(**index);
            let pin = request.preference.pin.as_ref();
            pin.is_none_or(|pin| endpoint.is_some_and(|endpoint| endpoint.key().node == *pin))
        };
        !tried.is_empty()
            && self
                .table
                .candidates(request.model)
                .iter()
                .filter(is_accepted)
                .all(|index| tried.contains(index))
    }

    /// Takes a slot. Returns `None` only for an index without an endpoint, which placement never
    /// chooses.
    fn claim(
        &mut self,
        model: &str,
        index: u32,
        ticket: Ticket,
        preference: &Arc<RoutingPreference>,
        now: Duration,
    ) -> Option<Grant> {
        let endpoint = Arc::clone(self.table.endpoint(index)?);
        let state = self.table.report(index)?.state;
        let probe = self.slots_mut(index)?.claim(now);
        self.round_robin.advance(model);
        let has_affinity = matches!(preference.strategy, Strategy::Session | Strategy::Prefix);
        let mut grant = Grant {
            endpoint,
            index,
            ticket,
            since: now,
            starts_engine: state == EndpointState::ScaledToZero,
            probe,
            preference: has_affinity.then(|| Arc::clone(preference)),
            known_blocks: 0,
            session: preference.affinity.conversation_key(model),
            is_released: false,
        };
        self.record_affinity(&mut grant, now);
        self.update_load(index, now);
        Some(grant)
    }

    fn slots_at(&self, index: u32) -> Option<&Slots> {
        self.slots.get(index as usize)?.as_ref()
    }

    fn slots_mut(&mut self, index: u32) -> Option<&mut Slots> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    /// Updates the load and the deadline of one endpoint from its slots. Returns whether it can
    /// take a request now and could not before.
    fn update_load(&mut self, index: u32, now: Duration) -> bool {
        let Some(slots) = self.slots_at(index) else {
            return false;
        };
        let (deadline, load) = (slots.changes_at(now), slots.load(now));
        let had_room = self.loads.has_room(index);
        let load = placement::Load {
            conversations: self.loads.get(index).conversations,
            ..load
        };
        self.loads.set(&self.table, index, load);
        self.deadlines.set(index, deadline);
        !had_room && self.loads.has_room(index)
    }

    fn refuse(&self, reason: RefusalReason, model: &str, now: Duration) -> AcquireDecision {
        AcquireDecision::Refused(self.refusal(reason, model, now))
    }

    fn refusal(&self, reason: RefusalReason, model: &str, now: Duration) -> Refusal {
        let retry_after = match reason {
            RefusalReason::QueueFull => Some(self.retry_after(model, now)),
            RefusalReason::NoneRoutable => Some(self.config.retry_after_outage()),
            RefusalReason::UnknownModel | RefusalReason::Exhausted | RefusalReason::Deadline => {
                None
            }
        };
        Refusal {
            reason,
            retry_after,
        }
    }

    fn note_breaker_change(
        &mut self,
        endpoint: &EndpointKey,
        before: Option<EndpointFailure>,
        after: Option<EndpointFailure>,
    ) {
        if before.is_some() != after.is_some() {
            self.effects.breaker_changes.push(BreakerChange {
                endpoint: endpoint.clone(),
                opened_by: after,
            });
        }
    }
}
