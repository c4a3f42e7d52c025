//! The decisions: who gets a slot, who waits, who is woken. Pure: `(state, event, now) → (state,
//! effects)`.
//!
//! `now` is the time since an origin of the caller's choice. `W` is how a waiting request is woken;
//! the core only keeps it and hands it back with the [`Grant`].
//!
//! Every event may free a slot, if only because it notices that a pause is over. Its effects are
//! collected in the core, and the caller takes them with [`Core::take_effects`] after each event,
//! whatever the event was.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::{collections::HashMap, sync::Arc, time::Duration};

use placement::{Conversations, Loads, NoPlace, PlacementQuery, PrefixIndex, Strategy};
use routing_table::{Endpoint, EndpointKey, RoutingTable};

use crate::{
    AcquireRequest, Config, Failure, Refusal, RefusalReason, RoutingPreference, Ticket,
    TrustChange,
    due::DueTimes,
    line::{Line, Waiter},
    slot::Slot,
    turns::Turns,
};

#[cfg(test)]
mod affinity;
#[cfg(test)]
mod changes;
mod ending;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod interleavings;
mod outlook;
#[cfg(test)]
mod random;
mod routes;
mod serving;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use ending::Ending;
pub(crate) use outlook::MAX_RETRY_AFTER;
pub use view::{EndpointStatus, ExplainedCandidate, Explanation, ModelSummary, Snapshot, Waiting};

/// A slot on an endpoint, to be given back by [`Core::release`].
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) endpoint: Arc<Endpoint>,
    /// Its index when the slot was granted. Another endpoint may have it now.
    pub(crate) index: u32,
    pub(crate) ticket: Ticket,
    pub(crate) since: Duration,
    /// Its number among the requests that are let through in a quarantine, if it is one.
    pub(crate) probe: Option<u64>,
    /// Where it would like to go, for strategies that remember where a request went.
    wish: Option<Arc<RoutingPreference>>,
    /// The conversation that it belongs to by its session.
    session: Option<u64>,
    /// The slot went back already: the node uses a replica that is not known here.
    is_released: bool,
}

/// What is to be done after an event, without the lock.
#[derive(Debug)]
#[must_use = "a request that is not woken waits beside its slot"]
pub(crate) struct Effects<W> {
    /// Waiting requests that have got a slot.
    pub(crate) granted: Vec<(W, Grant)>,
    /// Endpoints whose breaker has opened or closed.
    pub(crate) trust_changes: Vec<TrustChange>,
}

/// What a request is told at once.
#[derive(Debug)]
pub(crate) enum Arrival {
    Granted(Grant),
    /// It waits; `known` tells whether anybody serves the model, available or not.
    Waiting {
        ticket: Ticket,
        known: bool,
    },
    Refused(Refusal),
}

pub(crate) struct Core<W> {
    config: Config,
    table: RoutingTable,
    /// By index of the table; `None` where it has no endpoint.
    slots: Vec<Option<Slot>>,
    /// The same, as placement reads it.
    loads: Loads,
    /// When time alone changes the load of a slot next.
    due: DueTimes,
    /// Endpoints that left the table while requests of ours still run there.
    departed: HashMap<EndpointKey, Slot>,
    lines: HashMap<String, Line<W>>,
    last_ticket: u64,
    turns: Turns,
    prefixes: PrefixIndex,
    conversations: Conversations,
    /// What the caller has not taken yet.
    effects: Effects<W>,
}

impl<W> Default for Effects<W> {
    fn default() -> Self {
        Self {
            granted: Vec::new(),
            trust_changes: Vec::new(),
        }
    }
}

impl<W> Core<W> {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            table: RoutingTable::default(),
            slots: Vec::new(),
            loads: Loads::default(),
            due: DueTimes::default(),
            departed: HashMap::new(),
            lines: HashMap::new(),
            last_ticket: 0,
            turns: Turns::default(),
            prefixes: PrefixIndex::new(),
            conversations: Conversations::default(),
            effects: Effects::default(),
        }
    }

    /// What is known of the endpoints.
    pub(crate) fn table(&self) -> &RoutingTable {
        &self.table
    }

    /// What the events since the last call lead to.
    pub(crate) fn take_effects(&mut self) -> Effects<W> {
        std::mem::take(&mut self.effects)
    }

    /// A request asks for a slot. `wake` is called only when it has to wait.
    pub(crate) fn arrive(
        &mut self,
        ask: &AcquireRequest<'_>,
        now: Duration,
        wake: impl FnOnce() -> W,
    ) -> Arrival {
        self.refresh(now);
        let ticket = ask.ticket.unwrap_or_else(|| {
            self.last_ticket = self.last_ticket.saturating_add(1);
            Ticket(self.last_ticket)
        });
        // Nobody overtakes those who came before.
        let first = self
            .lines
            .get(ask.model)
            .is_none_or(|line| line.is_next(ask.priority, ticket));
        if first {
            match self.place(ask.model, ask.wish, ask.tried) {
                Ok(index) => {
                    if let Some(grant) = self.claim(ask.model, index, ticket, ask.wish, now) {
                        return Arrival::Granted(grant);
                    }
                }
                Err(NoPlace::UnknownModel) if now >= self.config.warm_up => {
                    return Arrival::Refused(self.refusal(
                        RefusalReason::UnknownModel,
                        ask.model,
                        now,
                    ));
                }
                Err(NoPlace::NoneRoutable) if self.is_exhausted(ask) => {
                    return Arrival::Refused(self.refusal(
                        RefusalReason::Exhausted,
                        ask.model,
                        now,
                    ));
                }
                Err(_) => {}
            }
        }
        let line = self.lines.entry(ask.model.to_owned()).or_default();
        if line.waiting(ask.priority) >= self.config.queue_limit && ask.ticket.is_none() {
            return Arrival::Refused(self.refusal(RefusalReason::QueueFull, ask.model, now));
        }
        line.insert(
            ask.priority,
            ticket,
            Waiter {
                wake: wake(),
                wish: ask.wish.clone(),
                tried: ask.tried.to_vec(),
            },
        );
        let known = !self.table.candidates(ask.model).is_empty();
        Arrival::Waiting { ticket, known }
    }

    /// A waiting request leaves the line; true when it still stood there.
    ///
    /// This frees nothing for others: a request that may go anywhere waits only while no endpoint
    /// has a free slot, and any other one lets them pass.
    pub(crate) fn leave(&mut self, model: &str, ticket: Ticket) -> bool {
        self.remove(model, ticket).is_some()
    }

    /// A waiting request has waited long enough, and leaves the line. A model that was `known` when
    /// it came is expected back. `None`: the request has been granted a slot, maybe by this
    /// very call.
    pub(crate) fn expire(
        &mut self,
        model: &str,
        ticket: Ticket,
        known: bool,
        now: Duration,
    ) -> Option<Refusal> {
        self.refresh(now);
        let waiter = self.remove(model, ticket)?;
        let reason = match self.place(model, &waiter.wish, &waiter.tried) {
            Err(NoPlace::UnknownModel) if !known => RefusalReason::UnknownModel,
            Err(NoPlace::UnknownModel | NoPlace::NoneRoutable) => RefusalReason::NoneRoutable,
            Err(NoPlace::Full) | Ok(_) => RefusalReason::QueueFull,
        };
        Some(self.refusal(reason, model, now))
    }

    fn remove(&mut self, model: &str, ticket: Ticket) -> Option<Waiter<W>> {
        let line = self.lines.get_mut(model)?;
        let waiter = line.remove(ticket);
        if line.is_empty() {
            self.lines.remove(model);
        }
        waiter
    }

    /// Time has passed: quarantines and old reports end.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.refresh(now);
    }

    /// When time alone changes something for those who wait; `None` while nobody waits.
    pub(crate) fn next_wakeup(&self) -> Option<Duration> {
        self.due.next().filter(|_| !self.lines.is_empty())
    }

    fn place(
        &self,
        model: &str,
        wish: &RoutingPreference,
        tried: &[Arc<Endpoint>],
    ) -> Result<u32, NoPlace> {
        let tried = self.tried_indices(tried);
        let question = self.question(model, wish, &tried);
        if let Some(home) = placement::at_home(&self.table, &self.loads, &question) {
            return Ok(home);
        }
        let prefix =
            (wish.strategy == Strategy::Prefix).then(|| self.prefixes.find(&wish.affinity.blocks));
        let prefix = prefix.as_ref();
        placement::choose(
            &self.table,
            &self.loads,
            &PlacementQuery { prefix, ..question },
        )
    }

    /// What to ask placement, but for the endpoints that have seen some of the prompt.
    fn question<'a>(
        &self,
        model: &'a str,
        wish: &'a RoutingPreference,
        tried: &'a [u32],
    ) -> PlacementQuery<'a> {
        let home = match wish.strategy {
            Strategy::Session => (wish.affinity.session_of(model))
                .and_then(|conversation| self.conversations.endpoint_of(conversation)),
            Strategy::Prefix => {
                let conversation = self.conversations.extended_by(&wish.affinity.blocks);
                conversation.map(|(_, endpoint)| endpoint)
            }
            Strategy::LeastLoaded | Strategy::RoundRobin | Strategy::Weighted => None,
        };
        PlacementQuery {
            model,
            strategy: wish.strategy,
            tried,
            turn: self.turns.of(model),
            pin: wish.pin.as_ref(),
            session: wish.affinity.session,
            prefix: None,
            home,
        }
    }

    fn tried_indices(&self, tried: &[Arc<Endpoint>]) -> Vec<u32> {
        let is_same = |known: &Endpoint, tried: &Endpoint| {
            known.incarnation() == tried.incarnation() && known.generation() == tried.generation()
        };
        let indices = tried.iter().filter_map(|tried| {
            let index = self.table.index_of(tried)?;
            is_same(self.table.endpoint(index)?, tried).then_some(index)
        });
        indices.collect()
    }

    /// Whether every candidate that would do was tried, so that waiting is in vain.
    fn is_exhausted(&self, ask: &AcquireRequest<'_>) -> bool {
        let tried = self.tried_indices(ask.tried);
        let would_do = |index: &&u32| {
            let endpoint = self.table.endpoint(**index);
            let pin = ask.wish.pin.as_ref();
            pin.is_none_or(|pin| endpoint.is_some_and(|endpoint| endpoint.key().node == *pin))
        };
        !tried.is_empty()
            && self
                .table
                .candidates(ask.model)
                .iter()
                .filter(would_do)
                .all(|index| tried.contains(index))
    }

    /// `None` cannot happen for an index that placement chose.
    fn claim(
        &mut self,
        model: &str,
        index: u32,
        ticket: Ticket,
        wish: &Arc<RoutingPreference>,
        now: Duration,
    ) -> Option<Grant> {
        let endpoint = Arc::clone(self.table.endpoint(index)?);
        let probe = self.slot_mut(index)?.claim(now);
        self.turns.next(model);
        let session = wish.affinity.session_of(model);
        let remembers = matches!(wish.strategy, Strategy::Session | Strategy::Prefix);
        let grant = Grant {
            endpoint,
            index,
            ticket,
            since: now,
            probe,
            wish: remembers.then(|| Arc::clone(wish)),
            session,
            is_released: false,
        };
        self.remember(&grant, now);
        self.reload(index, now);
        Some(grant)
    }

    /// The request is at the grant's endpoint, and so is its conversation.
    fn remember(&mut self, grant: &Grant, now: Duration) {
        let Some(wish) = &grant.wish else { return };
        let endpoint = grant.endpoint.hash();
        let (conversation, before) = match (wish.strategy, grant.session) {
            (Strategy::Prefix, _) => {
                let blocks = &wish.affinity.blocks;
                self.prefixes.record(blocks, endpoint);
                let before = self.conversations.extended_by(blocks);
                (blocks.last().copied(), before.map(|(before, _)| before))
            }
            (_, session) => (session, None),
        };
        let Some(conversation) = conversation else {
            return;
        };
        for hash in self
            .conversations
            .place(conversation, before, endpoint, now)
        {
            if let Some(index) = self.table.by_hash(hash) {
                self.recount(index);
            }
        }
    }

    /// Brings the number of conversations at one endpoint up to date.
    fn recount(&mut self, index: u32) {
        if let Some(endpoint) = self.table.endpoint(index) {
            let load = placement::Load {
                conversations: self.conversations.count(endpoint.hash()),
                ..self.loads.get(index)
            };
            self.loads.set(&self.table, index, load);
        }
    }

    fn slot(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index as usize)?.as_ref()
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    /// Brings the load of one endpoint up to date; true when it can take a request, which it could
    /// not before.
    fn reload(&mut self, index: u32, now: Duration) -> bool {
        let Some(slot) = self.slot(index) else {
            return false;
        };
        let (due, load) = (slot.changes_at(now), slot.load(now));
        let had_room = self.loads.has_room(index);
        let load = placement::Load {
            conversations: self.loads.get(index).conversations,
            ..load
        };
        self.loads.set(&self.table, index, load);
        self.due.set(index, due);
        !had_room && self.loads.has_room(index)
    }

    fn refusal(&self, reason: RefusalReason, model: &str, now: Duration) -> Refusal {
        let retry_after = match reason {
            RefusalReason::QueueFull => Some(self.time_to_a_slot(model, now)),
            RefusalReason::NoneRoutable => Some(self.config.max_wait.max(Duration::from_secs(1))),
            RefusalReason::UnknownModel | RefusalReason::Exhausted | RefusalReason::Deadline => {
                None
            }
        };
        Refusal {
            reason,
            retry_after,
        }
    }

    fn note_trust(
        &mut self,
        endpoint: &EndpointKey,
        before: Option<Failure>,
        after: Option<Failure>,
    ) {
        if before.is_some() != after.is_some() {
            self.effects.trust_changes.push(TrustChange {
                endpoint: endpoint.clone(),
                lost_by: after,
            });
        }
    }
}
