//! Waiting requests of one priority, served in turns by deficit round robin.
//!
//! The requests of one key are a flow. Flows take turns; in a turn, as many requests of a flow are
//! served as its weight says, in their order of arrival. So another flow's requests, however many
//! wait, delay a request that is the first of its flow by at most one turn.

// Clients choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    queued_request::{FlowKey, QueuedRequest},
    request::{Flow, Ticket},
};

/// The waiting requests of one priority.
#[derive(Debug)]
pub(crate) struct FairQueue<W> {
    /// In order of arrival.
    requests: BTreeMap<Ticket, QueuedRequest<W>>,
    /// The number of requests that every endpoint may serve.
    unrestricted: usize,
    /// The flows with requests, by their next turn.
    flows: BTreeMap<u64, FlowState>,
    turns: HashMap<FlowKey, u64, foldhash::fast::RandomState>,
    last_turn: u64,
}

/// A flow with requests.
#[derive(Debug)]
struct FlowState {
    key: FlowKey,
    /// How many of its requests are served in one turn.
    weight: u32,
    /// How many more are served in this turn.
    left: u32,
    tickets: BTreeSet<Ticket>,
}

impl FlowState {
    /// Whether it has more requests than `other`, by weight, if `other` gets `more`.
    fn exceeds(&self, other: (usize, u32)) -> bool {
        let (count, weight) = other;
        let product = |count: usize, weight: u32| (count as u128).saturating_mul(weight.into());
        product(self.tickets.len(), weight) > product(count, self.weight)
    }

    /// How many of its requests are served in this turn and `turns` more.
    fn served_in(&self, turns: usize) -> usize {
        let later = turns.saturating_mul(self.weight as usize);
        self.tickets
            .len()
            .min(later.saturating_add(self.left as usize))
    }
}

impl<W> Default for FairQueue<W> {
    fn default() -> Self {
        Self {
            requests: BTreeMap::new(),
            unrestricted: 0,
            flows: BTreeMap::new(),
            turns: HashMap::default(),
            last_turn: 0,
        }
    }
}

impl<W> FairQueue<W> {
    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(crate) fn contains(&self, ticket: Ticket) -> bool {
        self.requests.contains_key(&ticket)
    }

    /// Whether a request waits that every endpoint may serve.
    pub(crate) fn has_unrestricted(&self) -> bool {
        self.unrestricted > 0
    }

    /// The request that has waited longest.
    pub(crate) fn oldest(&self) -> Option<Ticket> {
        self.requests.first_key_value().map(|(ticket, _)| *ticket)
    }

    /// Adds a request to its flow. A flow without requests takes its turn after all others.
    pub(crate) fn insert(&mut self, ticket: Ticket, flow: Flow<'_>, request: QueuedRequest<W>) {
        let weight = flow.weight.max(1);
        let turn = self.turns.get(&request.flow).copied();
        let turn = turn.unwrap_or_else(|| {
            let state = FlowState {
                key: request.flow.clone(),
                weight,
                left: weight,
                tickets: BTreeSet::new(),
            };
            self.add_at_end(state)
        });
        if let Some(state) = self.flows.get_mut(&turn) {
            // The key may have changed.
            state.weight = weight;
            state.left = state.left.min(weight);
            state.tickets.insert(ticket);
        }
        let is_unrestricted = request.is_unrestricted();
        let replaced = self.requests.insert(ticket, request);
        let is_new = replaced.is_none_or(|replaced| !replaced.is_unrestricted());
        if is_unrestricted && is_new {
            self.unrestricted = self.unrestricted.saturating_add(1);
        }
    }

    /// Removes a request that leaves without a slot.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<QueuedRequest<W>> {
        self.take(ticket).map(|(request, _)| request)
    }

    /// Removes a request that gets a slot now, and counts it in the turn of its flow.
    pub(crate) fn pop(&mut self, ticket: Ticket) -> Option<QueuedRequest<W>> {
        let (request, turn) = self.take(ticket)?;
        let Some(state) = turn.and_then(|turn| self.flows.get_mut(&turn)) else {
            return Some(request);
        };
        state.left = state.left.saturating_sub(1);
        if state.left == 0
            && let Some(mut state) = turn.and_then(|turn| self.flows.remove(&turn))
        {
            state.left = state.weight;
            self.add_at_end(state);
        }
        Some(request)
    }

    /// Whether an earlier request of the same flow waits that every endpoint may serve.
    pub(crate) fn has_earlier(&self, flow: Flow<'_>, ticket: Ticket) -> bool {
        if self.unrestricted == 0 {
            return false;
        }
        let earlier = |state: &FlowState| {
            let mut earlier = state.tickets.range(..ticket);
            earlier.any(|ticket| {
                let request = self.requests.get(ticket);
                request.is_some_and(QueuedRequest::is_unrestricted)
            })
        };
        self.flow(&flow.key.cloned()).is_some_and(earlier)
    }

    /// The request that makes room for one more of `flow`: the newest one of the flow with the
    /// most requests by weight, if `flow` has fewer, even with one more.
    pub(crate) fn displaced_by(&self, flow: Flow<'_>) -> Option<Ticket> {
        if self.flows.len() < 2 && self.turns.contains_key(&flow.key.cloned()) {
            return None;
        }
        let own = self.flow(&flow.key.cloned());
        let count = own.map_or(0, |own| own.tickets.len());
        let mut flows = self.flows.values();
        let first = flows.next()?;
        let largest = flows.fold(first, |largest, next| {
            if next.exceeds((largest.tickets.len(), largest.weight)) {
                next
            } else {
                largest
            }
        });
        let after = (count.saturating_add(1), flow.weight.max(1));
        largest
            .exceeds(after)
            .then(|| largest.tickets.last().copied())
            .flatten()
    }

    /// All requests, in the order in which they are served.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = (Ticket, &QueuedRequest<W>)> {
        let tickets = self.flows.values().flat_map(|state| &state.tickets);
        tickets.filter_map(|ticket| Some((*ticket, self.requests.get(ticket)?)))
    }

    /// How many requests are served before `ticket`, if no other comes.
    pub(crate) fn ahead_of(&self, ticket: Ticket) -> usize {
        let request = self.requests.get(&ticket);
        let turn = request.and_then(|request| self.turns.get(&request.flow));
        let Some((turn, own)) = turn.and_then(|turn| Some((turn, self.flows.get(turn)?))) else {
            return 0;
        };
        let before = own.tickets.range(..ticket).count();
        // The turns that its flow takes before the one in which it is served.
        let turns = match before.checked_sub(own.left as usize) {
            None => 0,
            Some(rest) => rest
                .checked_div(own.weight as usize)
                .unwrap_or(0)
                .saturating_add(1),
        };
        let earlier = self.flows.range(..turn);
        let later = self.flows.range(turn.saturating_add(1)..);
        let earlier = earlier.map(|(_, state)| state.served_in(turns));
        let later = later.map(|(_, state)| match turns.checked_sub(1) {
            Some(turns) => state.served_in(turns),
            None => 0,
        });
        earlier
            .chain(later)
            .fold(before, |ahead, served| ahead.saturating_add(served))
    }

    fn flow(&self, key: &FlowKey) -> Option<&FlowState> {
        self.flows.get(self.turns.get(key)?)
    }

    /// Removes a request. Returns it with the turn of its flow, if that has others.
    fn take(&mut self, ticket: Ticket) -> Option<(QueuedRequest<W>, Option<u64>)> {
        let request = self.requests.remove(&ticket)?;
        if request.is_unrestricted() {
            self.unrestricted = self.unrestricted.saturating_sub(1);
        }
        let turn = self.turns.get(&request.flow).copied();
        let Some(state) = turn.and_then(|turn| self.flows.get_mut(&turn)) else {
            return Some((request, None));
        };
        state.tickets.remove(&ticket);
        if !state.tickets.is_empty() {
            return Some((request, turn));
        }
        // A flow keeps nothing of its turn.
        turn.map(|turn| self.flows.remove(&turn));
        self.turns.remove(&request.flow);
        Some((request, None))
    }

    /// Gives a flow the last turn of all.
    fn add_at_end(&mut self, state: FlowState) -> u64 {
        self.last_turn = self.last_turn.saturating_add(1);
        self.turns.insert(state.key.clone(), self.last_turn);
        self.flows.insert(self.last_turn, state);
        self.last_turn
    }
}
