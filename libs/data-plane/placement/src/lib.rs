//! Where a request goes: a pure choice over the routing table, with reasons.
//!
//! The caller brings the table (what the control plane knows), the [`Loads`] of its endpoints (what the data path
//! knows) and a [`Question`]; it gets the index of an endpoint with a free slot, or the reason why there is
//! none. No I/O, no clock and no lock: the same input always gives the same answer.
//!
//! [`choose`] is the fast way, [`explain`] the one with the reasons; both judge by the same rules.

mod affinity;
mod loads;
mod prefix;
mod strategy;

use std::ops::Range;

use pool_registry_types::NodeId;
use routing_table::{Endpoint, RoutingTable, State, Summary};
use thiserror::Error;

pub use affinity::{Affinity, MAX_BLOCKS, prompt_blocks, session_key};
use loads::Class;
pub use loads::Loads;
pub use prefix::{PrefixIndex, PrefixMatch};
use strategy::{BusyPart, Turn, least_loaded, liking, prefix, round_robin, session, weighted};
pub use strategy::{Rank, Strategy, UnknownStrategy};

/// What the data path knows of an endpoint at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Slots that are taken, by us or by others.
    pub used: u32,
    /// The data path has seen it fail and does not trust it yet.
    pub quarantined: bool,
}

/// What is to be placed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Question<'a> {
    /// The model asked for.
    pub model: &'a str,
    /// How to choose.
    pub strategy: Strategy,
    /// Endpoints that this request has already tried, by index; it goes elsewhere.
    pub tried: &'a [u32],
    /// Rises with each request; what round-robin counts by.
    pub turn: u64,
    /// Only this node will do.
    pub pin: Option<&'a NodeId>,
    /// The conversation it belongs to, see [`session_key`].
    pub session: Option<u64>,
    /// Who has seen how much of its prompt.
    pub prefix: Option<&'a PrefixMatch>,
}

/// Why an endpoint was not chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// It takes no new work.
    Draining,
    /// The control plane says that it cannot serve.
    NotReady,
    /// The data path has seen it fail.
    Quarantined,
    /// The request asks for another node.
    NotPinned,
    /// This request has been there.
    Tried,
    /// All its slots are taken.
    Full,
}

impl Skip {
    /// In a word, for people and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::NotReady => "not ready",
            Self::Quarantined => "quarantined after failures",
            Self::NotPinned => "not the node the request is pinned to",
            Self::Tried => "already tried",
            Self::Full => "no free slot",
        }
    }
}

/// Why a request has no place now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoPlace {
    /// Nobody serves the model.
    #[error("no endpoint serves the model")]
    UnknownModel,
    /// Endpoints serve the model, but none may be given the request.
    #[error("no endpoint that serves the model is available")]
    NoneRoutable,
    /// Those that may be given the request have no free slot.
    #[error("every slot for the model is taken")]
    Full,
}

/// Why an endpoint cannot take the request, when it cannot.
fn why_not(
    index: u32,
    table: &RoutingTable,
    summary: &Summary,
    load: Load,
    question: &Question<'_>,
) -> Option<Skip> {
    match summary.state {
        State::Draining => return Some(Skip::Draining),
        State::NotReady => return Some(Skip::NotReady),
        State::Ready | State::Asleep => {}
    }
    if load.quarantined {
        return Some(Skip::Quarantined);
    }
    let node = |index: u32| Some(&table.endpoints().get(index as usize)?.key.node);
    if question.pin.is_some_and(|pin| node(index) != Some(pin)) {
        return Some(Skip::NotPinned);
    }
    if question.tried.contains(&index) {
        return Some(Skip::Tried);
    }
    (load.used >= summary.slots_total).then_some(Skip::Full)
}

/// One candidate as the choice saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its index in the table.
    pub index: u32,
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// Its load.
    pub load: Load,
    /// Where it stands; the lowest of those that can be chosen is, and of equal ones the first.
    pub rank: Rank,
    /// Why it cannot be chosen; `None` when it can.
    pub skip: Option<Skip>,
}

/// All candidates for the question in the table's order, each with its rank and why it is skipped.
///
/// `loads` are those of the table; an endpoint without one counts as idle.
pub fn explain<'a>(
    table: &'a RoutingTable,
    loads: &'a Loads,
    question: &'a Question<'a>,
) -> impl Iterator<Item = Candidate<'a>> {
    let places = table.candidates(question.model);
    let turn = Turn::new(question.turn, places.len());
    (0_u32..).zip(places).filter_map(move |(position, &index)| {
        let endpoint = table.endpoints().get(index as usize)?;
        let summary = table.summaries().get(index as usize)?;
        let load = loads.get(index);
        Some(Candidate {
            index,
            endpoint,
            load,
            rank: rank(question, summary, load, turn.away(position)),
            skip: why_not(index, table, summary, load, question),
        })
    })
}

/// Where a candidate stands by the question's strategy.
fn rank(question: &Question<'_>, summary: &Summary, load: Load, away: u32) -> Rank {
    let busy = BusyPart::of(summary, load);
    match (question.strategy, question.session) {
        (Strategy::LeastLoaded, _) | (Strategy::Session, None) => least_loaded(summary, load),
        (Strategy::RoundRobin, _) => round_robin(busy, away),
        (Strategy::Weighted, _) => weighted(busy, away),
        (Strategy::Session, Some(id)) => session(id, summary.hash, busy),
        (Strategy::Prefix, _) => prefix(question.prefix.map(|seen| (seen, summary.hash)), busy, away),
    }
}

/// The endpoint the request goes to: the first of those with the lowest rank.
///
/// `loads` are those of the table.
///
/// # Errors
/// When it has no place now; see [`NoPlace`].
pub fn choose(table: &RoutingTable, loads: &Loads, question: &Question<'_>) -> Result<u32, NoPlace> {
    let all = table.candidates(question.model);
    if all.is_empty() {
        return Err(NoPlace::UnknownModel);
    }
    let walk = Walk::new(table, loads, question, all);
    let (class, index) = match (question.strategy, question.session) {
        (Strategy::LeastLoaded, _) | (Strategy::Session, None) => walk.least_loaded(),
        (Strategy::RoundRobin, _) => walk.round_robin(),
        (Strategy::Weighted, _) => walk.weighted(),
        (Strategy::Session, Some(id)) => walk.session(id),
        (Strategy::Prefix, _) => walk.prefix(),
    };
    match class {
        Class::Ready | Class::Asleep => Ok(index),
        Class::Full => Err(NoPlace::Full),
        Class::Closed => Err(NoPlace::NoneRoutable),
    }
}

/// A walk over the candidates of a question. Each strategy has one, over nothing but the numbers that it compares.
struct Walk<'a> {
    table: &'a RoutingTable,
    loads: &'a Loads,
    question: &'a Question<'a>,
    /// Every candidate of the model.
    all: &'a [u32],
    /// Positions in `all` of those that a pin leaves.
    open: Range<usize>,
    turn: Turn,
}

/// The best candidate and what is best about it.
type Found = (Class, u32);

impl<'a> Walk<'a> {
    fn new(table: &'a RoutingTable, loads: &'a Loads, question: &'a Question<'a>, all: &'a [u32]) -> Self {
        Self {
            table,
            loads,
            question,
            all,
            open: question.pin.map_or(0..all.len(), |pin| on_node(table, all, pin)),
            turn: Turn::new(question.turn, all.len()),
        }
    }

    /// The candidates from the one whose turn it is, and then those before it.
    fn in_turn(&self) -> [&'a [u32]; 2] {
        let start = self.turn.start().clamp(self.open.start, self.open.end);
        let slice = |range| self.all.get(range).unwrap_or_default();
        [slice(start..self.open.end), slice(self.open.start..start)]
    }

    /// The first of those with the lowest `key`, and the key.
    #[inline(always)]
    fn lowest<K: Ord + Copy>(&self, places: &[u32], best: (K, u32), key: impl Fn(u32) -> K) -> (K, u32) {
        let lower = |(best, chosen): (K, u32), index: u32| {
            let key = key(index);
            if key < best { (key, index) } else { (best, chosen) }
        };
        // Most requests have not been anywhere yet, and then no candidate need be asked for.
        match self.question.tried {
            [] => places.iter().copied().fold(best, lower),
            tried => {
                let left = places.iter().copied().filter(|index| !tried.contains(index));
                left.fold(best, lower)
            }
        }
    }

    fn least_loaded(&self) -> Found {
        let places = self.all.get(self.open.clone()).unwrap_or_default();
        let (rank, index) = self.lowest(places, (Rank::LAST, 0), |index| self.loads.least_loaded(index));
        (rank.class(), index)
    }

    /// The session's favourite is looked for among all, and only one that beats those before it is asked whether it can
    /// take the request: that are a few of thousands.
    fn session(&self, id: u64) -> Found {
        let places = self.all.get(self.open.clone()).unwrap_or_default();
        let mut best = None;
        for &index in places {
            let liking = liking(id, self.loads.hash(index));
            if best.is_none_or(|(most, _)| liking > most)
                && self.loads.busy(index).class() == Class::Ready
                && !self.question.tried.contains(&index)
            {
                best = Some((liking, index));
            }
        }
        if let Some((_, index)) = best {
            return (Class::Ready, index);
        }
        let key = |index| session(id, self.loads.hash(index), self.loads.busy(index));
        let (rank, index) = self.lowest(places, (Rank::LAST, 0), key);
        (rank.class(), index)
    }

    fn round_robin(&self) -> Found {
        let mut best = (Class::Closed, 0);
        for places in self.in_turn() {
            for &index in places.iter().filter(|index| !self.question.tried.contains(index)) {
                let class = self.loads.busy(index).class();
                if class == Class::Ready {
                    return (class, index);
                }
                if class < best.0 {
                    best = (class, index);
                }
            }
        }
        best
    }

    fn least_busy(&self) -> (BusyPart, u32) {
        let mut best = (BusyPart::LAST, 0);
        for places in self.in_turn() {
            best = self.lowest(places, best, |index| self.loads.busy(index));
        }
        best
    }

    fn weighted(&self) -> Found {
        let (busy, index) = self.least_busy();
        (busy.class(), index)
    }

    /// For those that have seen nothing of the prompt, which are nearly all, it is the same as [`weighted`].
    fn prefix(&self) -> Found {
        let (busy, index) = self.least_busy();
        let Some(seen) = self.question.prefix else {
            return (busy.class(), index);
        };
        let rank = |index| {
            let position = self.all.binary_search(&index).ok()?;
            let may_go_there = self.open.contains(&position) && !self.question.tried.contains(&index);
            let away = self.turn.away(u32::try_from(position).ok()?);
            may_go_there.then(|| {
                let seen = Some((seen, self.loads.hash(index)));
                (prefix(seen, self.loads.busy(index), away), index)
            })
        };
        let who_has_seen = seen.endpoints().filter_map(|hash| self.table.by_hash(hash));
        let (rank, index) = (who_has_seen.chain([index]).filter_map(rank).min()).unwrap_or((Rank::LAST, 0));
        (rank.class(), index)
    }
}

/// Where the candidates on `node` are among all of them: side by side, because they are in the order of their keys.
fn on_node(table: &RoutingTable, all: &[u32], node: &NodeId) -> Range<usize> {
    let is_before = |index: &u32| {
        let endpoint = table.endpoints().get(*index as usize);
        endpoint.is_some_and(|endpoint| endpoint.key.node < *node)
    };
    let is_up_to = |index: &u32| {
        let endpoint = table.endpoints().get(*index as usize);
        endpoint.is_some_and(|endpoint| endpoint.key.node <= *node)
    };
    all.partition_point(is_before)..all.partition_point(is_up_to)
}

#[cfg(test)]
mod tests;

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
