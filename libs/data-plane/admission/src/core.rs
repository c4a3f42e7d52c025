//! The decisions: who gets a slot, who waits, who is woken. Pure: `(state, event, now) → (state, effects)`.
//!
//! `now` is the time since an origin of the caller's choice. `W` is how a waiting request is woken; the core
//! only keeps it and hands it back with the [`Grant`].
//!
//! Every event may free a slot, if only because it notices that a pause is over. Its effects are collected in the
//! core, and the caller takes them with [`Core::take_effects`] after each event, whatever the event was.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::{collections::HashMap, sync::Arc, time::Duration};

use placement::{Loads, NoPlace, PrefixIndex, PrefixMatch, Question, Strategy};
use routing_table::{Endpoint, EndpointKey, RoutingTable};

use crate::{
    Ask, Config, Failure, Refusal, RefusalReason, Ticket, TrustChange, Wish,
    line::{Line, Waiter},
    slot::Slot,
    turns::Turns,
};

#[cfg(test)]
mod interleavings;
mod outlook;
#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
mod view;

pub use view::{EndpointStatus, ExplainedCandidate, Explanation, Snapshot, Waiting};

/// The shortest wait a refused client is told: less would only be a busy loop.
const MIN_RETRY_AFTER: Duration = Duration::from_millis(100);
/// The longest: an estimate beyond it is a guess.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// What a request is assumed to take while nobody has finished one.
const ASSUMED_SERVICE_SECS: f64 = 1.0;

/// A slot on an endpoint, to be given back by [`Core::release`].
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) table: Arc<RoutingTable>,
    pub(crate) index: u32,
    pub(crate) ticket: Ticket,
    pub(crate) since: Duration,
    /// Its number among the requests that are let through in a quarantine, if it is one.
    pub(crate) probe: Option<u64>,
}

impl Grant {
    /// The endpoint; `None` cannot happen for a grant that the core made.
    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        self.table.endpoints().get(self.index as usize)
    }
}

/// How a request at an endpoint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The endpoint answered.
    Served,
    /// It failed.
    Failed(Failure),
    /// It had no slot after all, or takes no new work; maybe it said for how long.
    Refused { pause: Option<Duration> },
    /// Nothing was learnt: the client left.
    Untold,
}

/// What is to be done after an event, without the lock.
#[derive(Debug)]
#[must_use = "a request that is not woken waits beside its slot"]
pub(crate) struct Effects<W> {
    /// Waiting requests that have got a slot.
    pub(crate) granted: Vec<(W, Grant)>,
    /// Endpoints whose trust has ended or is back.
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
    table: Arc<RoutingTable>,
    /// One per endpoint of the table.
    slots: Vec<Slot>,
    /// The same, as placement reads it.
    loads: Loads,
    /// Lives that left the table while requests of ours still run there.
    departed: HashMap<EndpointKey, Slot>,
    lines: HashMap<String, Line<W>>,
    last_ticket: u64,
    turns: Turns,
    prefixes: PrefixIndex,
    /// What the caller has not taken yet.
    effects: Effects<W>,
    /// When time alone changes the load of some slot next.
    next_change: Option<Duration>,
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
            table: Arc::default(),
            slots: Vec::new(),
            loads: Loads::default(),
            departed: HashMap::new(),
            lines: HashMap::new(),
            last_ticket: 0,
            turns: Turns::default(),
            prefixes: PrefixIndex::new(),
            effects: Effects::default(),
            next_change: None,
        }
    }

    /// What the events since the last call lead to.
    pub(crate) fn take_effects(&mut self) -> Effects<W> {
        std::mem::take(&mut self.effects)
    }

    /// A request asks for a slot. `wake` is called only when it has to wait.
    pub(crate) fn arrive(&mut self, ask: &Ask<'_>, now: Duration, wake: impl FnOnce() -> W) -> Arrival {
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
                Ok(index) => return Arrival::Granted(self.claim(ask.model, index, ticket, ask.wish, now)),
                Err(NoPlace::UnknownModel) if now >= self.config.warm_up => {
                    return Arrival::Refused(self.refusal(RefusalReason::UnknownModel, ask.model, now));
                }
                Err(NoPlace::NoneRoutable) if self.is_exhausted(ask) => {
                    return Arrival::Refused(self.refusal(RefusalReason::Exhausted, ask.model, now));
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
    /// This frees nothing for others: a request that may go anywhere waits only while no endpoint has a free slot,
    /// and any other one lets them pass.
    pub(crate) fn leave(&mut self, model: &str, ticket: Ticket) -> bool {
        self.remove(model, ticket).is_some()
    }

    /// A waiting request has waited long enough, and leaves the line. A model that was `known` when it came is expected
    /// back. `None`: the request has been granted a slot, maybe by this very call.
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

    /// The control plane has a new table.
    pub(crate) fn replace_table(&mut self, table: Arc<RoutingTable>, now: Duration) {
        let old_table = std::mem::replace(&mut self.table, table);
        let mut known: HashMap<&EndpointKey, Slot> = old_table
            .endpoints()
            .iter()
            .map(|endpoint| &endpoint.key)
            .zip(self.slots.drain(..))
            .collect();
        self.slots = self
            .table
            .endpoints()
            .iter()
            .map(|endpoint| {
                let kept = known
                    .remove(&endpoint.key)
                    .or_else(|| self.departed.remove(&endpoint.key));
                let Some(slot) = kept else {
                    return Slot::new(endpoint, now);
                };
                let was_trusted = slot.health.lost_by().is_none();
                let slot = slot.carry_over(endpoint, now);
                if !was_trusted && slot.health.lost_by().is_none() {
                    self.effects.trust_changes.push(TrustChange {
                        endpoint: endpoint.key.clone(),
                        lost_by: None,
                    });
                }
                slot
            })
            .collect();
        let departing = known.into_iter().filter(|(_, slot)| slot.own > 0);
        self.departed
            .extend(departing.map(|(key, slot)| (key.clone(), slot)));
        self.turns.keep(&self.table);
        self.reload_all(now);
        self.serve_waiting(None, now);
    }

    /// A request is over, and its slot is free. `jitter` is a random number from -1 to 1.
    pub(crate) fn release(&mut self, grant: &Grant, ending: Ending, now: Duration, jitter: f64) {
        let held = (ending == Ending::Served).then(|| now.saturating_sub(grant.since));
        self.update(grant, now, |slot, endpoint| {
            slot.release(held);
            judge(slot, endpoint, grant, ending, now, jitter);
        });
    }

    /// The client of a request has left, or its answer broke, and the engine may go on with it. What the request has
    /// shown counts now. Its slot stays taken until [`Core::reclaim`].
    pub(crate) fn abandon(&mut self, grant: &Grant, ending: Ending, now: Duration, jitter: f64) {
        self.update(grant, now, |slot, endpoint| {
            judge(slot, endpoint, grant, ending, now, jitter);
        });
    }

    /// The engine is done with an abandoned request. Its slot is free; the request shows nothing more.
    pub(crate) fn reclaim(&mut self, grant: &Grant, now: Duration) {
        self.update(grant, now, |slot, _| slot.release(None));
    }

    /// An answer has begun, maybe with the endpoint's `(free, total)` slots.
    pub(crate) fn answered(&mut self, grant: &Grant, load: Option<(u32, u32)>, now: Duration) {
        self.update(grant, now, |slot, _| {
            if let Some((free, total)) = load {
                slot.observed(free, total, now);
            }
            slot.accepted();
            slot.health.answered(grant.probe);
        });
    }

    /// Changes what is known of the endpoint that `grant` is for, and serves waiting requests if it has more room now.
    fn update(&mut self, grant: &Grant, now: Duration, change: impl FnOnce(&mut Slot, &Endpoint)) {
        let Some(endpoint) = grant.endpoint() else { return };
        let Some(index) = self.locate(grant, endpoint) else {
            if let Some(slot) = self.departed.get_mut(&endpoint.key) {
                if slot.counts(endpoint.incarnation) {
                    change(slot, endpoint);
                }
                if slot.own == 0 {
                    self.departed.remove(&endpoint.key);
                }
            }
            return;
        };
        if let Some(slot) = self.slots.get_mut(index as usize) {
            let before = slot.health.lost_by();
            change(slot, endpoint);
            let after = slot.health.lost_by();
            self.note_trust(endpoint, before, after);
        }
        if self.reload(index, now) {
            self.serve_waiting(Some(index), now);
        }
    }

    fn note_trust(&mut self, endpoint: &Endpoint, before: Option<Failure>, after: Option<Failure>) {
        if before.is_some() != after.is_some() {
            self.effects.trust_changes.push(TrustChange {
                endpoint: endpoint.key.clone(),
                lost_by: after,
            });
        }
    }

    /// Time has passed: quarantines and old reports end.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.refresh(now);
    }

    /// When time alone changes something for those who wait; `None` while nobody waits.
    pub(crate) fn next_wakeup(&self) -> Option<Duration> {
        self.next_change.filter(|_| !self.lines.is_empty())
    }

    fn place(&self, model: &str, wish: &Wish, tried: &[(EndpointKey, u64)]) -> Result<u32, NoPlace> {
        let tried = self.tried_indices(tried);
        let prefix = self.seen_before(wish);
        placement::choose(
            &self.table,
            &self.loads,
            &self.question(model, wish, &tried, prefix.as_ref()),
        )
    }

    fn question<'a>(
        &self,
        model: &'a str,
        wish: &'a Wish,
        tried: &'a [u32],
        prefix: Option<&'a PrefixMatch>,
    ) -> Question<'a> {
        let (pin, session) = (wish.pin.as_ref(), wish.affinity.session);
        Question {
            model,
            strategy: wish.strategy,
            tried,
            turn: self.turns.of(model),
            pin,
            session,
            prefix,
        }
    }

    /// Who has seen how much of the prompt, where the strategy asks for it.
    fn seen_before(&self, wish: &Wish) -> Option<PrefixMatch> {
        (wish.strategy == Strategy::Prefix).then(|| self.prefixes.find(&wish.affinity.blocks))
    }

    fn tried_indices(&self, tried: &[(EndpointKey, u64)]) -> Vec<u32> {
        let endpoints = self.table.endpoints();
        tried
            .iter()
            .filter_map(|(key, incarnation)| {
                let index = endpoints
                    .binary_search_by(|endpoint| endpoint.key.cmp(key))
                    .ok()?;
                (endpoints[index].incarnation == *incarnation).then(|| u32::try_from(index).ok())?
            })
            .collect()
    }

    /// Whether every candidate that would do was tried, so that waiting is in vain.
    fn is_exhausted(&self, ask: &Ask<'_>) -> bool {
        let tried = self.tried_indices(ask.tried);
        let would_do = |index: &&u32| {
            let endpoint = self.table.endpoints().get(**index as usize);
            let pin = ask.wish.pin.as_ref();
            pin.is_none_or(|pin| endpoint.is_some_and(|endpoint| endpoint.key.node == *pin))
        };
        !tried.is_empty()
            && self
                .table
                .candidates(ask.model)
                .iter()
                .filter(would_do)
                .all(|index| tried.contains(index))
    }

    fn claim(&mut self, model: &str, index: u32, ticket: Ticket, wish: &Wish, now: Duration) -> Grant {
        self.turns.next(model);
        let probe = self
            .slots
            .get_mut(index as usize)
            .and_then(|slot| slot.claim(now));
        if wish.strategy == Strategy::Prefix
            && let Some(summary) = self.table.summaries().get(index as usize)
        {
            self.prefixes.record(&wish.affinity.blocks, summary.hash);
        }
        self.reload(index, now);
        Grant {
            table: self.table.clone(),
            index,
            ticket,
            since: now,
            probe,
        }
    }

    /// The index, in today's table, of the life that `grant` holds a slot of.
    fn locate(&self, grant: &Grant, endpoint: &Endpoint) -> Option<u32> {
        let index = if Arc::ptr_eq(&grant.table, &self.table) {
            grant.index
        } else {
            let place = self
                .table
                .endpoints()
                .binary_search_by(|now| now.key.cmp(&endpoint.key))
                .ok()?;
            u32::try_from(place).ok()?
        };
        self.slots
            .get(index as usize)?
            .counts(endpoint.incarnation)
            .then_some(index)
    }

    /// Brings the load of one endpoint up to date; true when it may take more than it could before.
    fn reload(&mut self, index: u32, now: Duration) -> bool {
        let Some(slot) = self.slots.get(index as usize) else {
            return false;
        };
        let (before, after) = (self.loads.get(index), slot.load(now));
        self.loads.set(&self.table, index, after);
        self.next_change = self.next_change.into_iter().chain(slot.changes_at(now)).min();
        after.used < before.used || (before.quarantined && !after.quarantined)
    }

    fn reload_all(&mut self, now: Duration) {
        self.loads = Loads::new(&self.table, self.slots.iter().map(|slot| slot.load(now)));
        self.next_change = self.slots.iter().filter_map(|slot| slot.changes_at(now)).min();
    }

    /// Brings loads up to date where time alone has changed them, and serves the requests that wait for that. It has to
    /// do both: it moves `next_change`, so that the timer no longer looks at what is due now.
    fn refresh(&mut self, now: Duration) {
        if self.next_change.is_some_and(|at| at <= now) {
            self.reload_all(now);
            self.serve_waiting(None, now);
        }
    }

    /// Gives free slots to those who wait: all lines, or those that `index` can serve, oldest first.
    fn serve_waiting(&mut self, index: Option<u32>, now: Duration) {
        if self.lines.is_empty() {
            return;
        }
        let mut models: Vec<(Ticket, String)> = self
            .lines
            .iter()
            .filter(|(model, _)| {
                index.is_none_or(|index| self.table.candidates(model).binary_search(&index).is_ok())
            })
            .filter_map(|(model, line)| Some((line.oldest()?, model.clone())))
            .collect();
        // Models that share an endpoint take turns by who came first.
        models.sort_unstable();
        for (_, model) in models {
            while let Some((ticket, place)) = self.next_to_serve(&model) {
                let Some(waiter) = self.lines.get_mut(&model).and_then(|line| line.serve(ticket)) else {
                    break;
                };
                let grant = self.claim(&model, place, ticket, &waiter.wish, now);
                self.effects.granted.push((waiter.wake, grant));
            }
            if self.lines.get(&model).is_some_and(|line| line.is_empty()) {
                self.lines.remove(&model);
            }
        }
    }

    /// The first in the line that can be placed now.
    fn next_to_serve(&self, model: &str) -> Option<(Ticket, u32)> {
        for (ticket, waiter) in self.lines.get(model)?.in_order() {
            match self.place(model, &waiter.wish, &waiter.tried) {
                Ok(index) => return Some((ticket, index)),
                // Who may go anywhere and cannot, blocks nobody who could.
                Err(_) if waiter.goes_anywhere() => return None,
                Err(_) => {}
            }
        }
        None
    }

    fn refusal(&self, reason: RefusalReason, model: &str, now: Duration) -> Refusal {
        let retry_after = match reason {
            RefusalReason::QueueFull => Some(self.time_to_a_slot(model, now)),
            RefusalReason::NoneRoutable => Some(self.config.max_wait.max(Duration::from_secs(1))),
            RefusalReason::UnknownModel | RefusalReason::Exhausted | RefusalReason::Deadline => None,
        };
        Refusal { reason, retry_after }
    }

    /// How long the line, one request longer, takes at the speed at which slots were freed lately, and not before one
    /// of the endpoints takes requests again.
    pub(crate) fn time_to_a_slot(&self, model: &str, now: Duration) -> Duration {
        let waiting = self.lines.get(model).map_or(0, |line| line.len());
        let Some(per_second) = self.slots_per_second(model) else {
            return MAX_RETRY_AFTER;
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "a queue has far fewer than 2^52 entries"
        )]
        let seconds = (waiting as f64 + 1.0) / per_second;
        let candidates = self.table.candidates(model).iter();
        let pauses = candidates.filter_map(|&index| Some(self.slots.get(index as usize)?.paused_for(now)));
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(MAX_RETRY_AFTER)
            .max(pauses.min().unwrap_or_default())
            .clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER)
    }

    /// How many slots for `model` were freed in a second lately; `None` when nobody has any.
    fn slots_per_second(&self, model: &str) -> Option<f64> {
        let per_second: f64 = self
            .table
            .candidates(model)
            .iter()
            .filter_map(|&index| {
                Some((
                    self.slots.get(index as usize)?,
                    self.table.endpoints().get(index as usize)?,
                ))
            })
            .map(|(slot, endpoint)| {
                // A millisecond at least: a mean of nothing must not promise infinite speed.
                f64::from(endpoint.slots_total) / slot.service_secs.unwrap_or(ASSUMED_SERVICE_SECS).max(0.001)
            })
            .sum();
        (per_second > 0.0).then_some(per_second)
    }
}

/// What the end of a request shows of its endpoint.
fn judge(slot: &mut Slot, endpoint: &Endpoint, grant: &Grant, ending: Ending, now: Duration, jitter: f64) {
    match ending {
        Ending::Served => {
            slot.accepted();
            slot.health.succeeded(grant.probe);
        }
        Ending::Failed(failure) => {
            slot.health.failed(failure, grant.probe, now, jitter);
        }
        Ending::Refused { pause } => {
            slot.refused(endpoint, pause, now);
            // It answered, if only to refuse: it is not dead.
            slot.health.answered(grant.probe);
        }
        Ending::Untold => slot.health.told_nothing(grant.probe, now),
    }
}
