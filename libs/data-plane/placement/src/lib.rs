//! Where a request goes: a pure choice over the routing table, with reasons.
//!
//! The caller brings the table (what the control plane knows), one [`Load`] per endpoint (what the data path
//! knows) and a [`Question`]; it gets the index of an endpoint with a free slot, or the reason why there is
//! none. No I/O, no clock and no lock: the same input always gives the same answer.
//!
//! [`choose`] is the fast way, [`explain`] the one with the reasons; both judge by the same rules.

mod affinity;
mod prefix;
mod strategy;

use pool_registry_types::NodeId;
use routing_table::{Endpoint, RoutingTable, State, Summary};
use thiserror::Error;

pub use affinity::{Affinity, MAX_BLOCKS, prompt_blocks, session_key};
pub use prefix::{PrefixIndex, PrefixMatch};
pub use strategy::{Rank, Strategy, UnknownStrategy};
use strategy::{Turn, least_loaded, prefix as by_prefix, round_robin, session as by_session, weighted};

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

/// Whether an endpoint can take the request, and if not, why.
fn eligible(
    index: u32,
    table: &RoutingTable,
    summary: &Summary,
    load: Load,
    question: &Question<'_>,
) -> Result<(), Skip> {
    match summary.state {
        State::Draining => return Err(Skip::Draining),
        State::NotReady => return Err(Skip::NotReady),
        State::Ready | State::Asleep => {}
    }
    if load.quarantined {
        return Err(Skip::Quarantined);
    }
    if let Some(pin) = question.pin
        && table
            .endpoints()
            .get(index as usize)
            .is_none_or(|endpoint| endpoint.key.node != *pin)
    {
        return Err(Skip::NotPinned);
    }
    if question.tried.contains(&index) {
        return Err(Skip::Tried);
    }
    if load.used >= summary.slots_total {
        return Err(Skip::Full);
    }
    Ok(())
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
    /// Where it stands by the strategy; the lowest of those that are awake is chosen, and of equal ones the first.
    pub rank: Rank,
    /// Why it cannot be chosen; `None` when it can.
    pub skip: Option<Skip>,
}

/// All candidates for the question in the table's order, each with its rank and why it is skipped.
///
/// An endpoint without an entry in `loads` (which has one per endpoint of the table) counts as idle.
pub fn explain<'a>(
    table: &'a RoutingTable,
    loads: &'a [Load],
    question: &'a Question<'a>,
) -> impl Iterator<Item = Candidate<'a>> {
    let places = table.candidates(question.model);
    let turn = Turn::new(question.turn, places.len());
    (0_u32..).zip(places).filter_map(move |(position, &index)| {
        let endpoint = table.endpoints().get(index as usize)?;
        let summary = table.summaries().get(index as usize)?;
        let load = loads.get(index as usize).copied().unwrap_or_default();
        let rank = rank(question, summary, load, turn, position);
        let skip = eligible(index, table, summary, load, question).err();
        Some(Candidate {
            index,
            endpoint,
            load,
            rank,
            skip,
        })
    })
}

/// Where a candidate stands by the question's strategy.
fn rank(question: &Question<'_>, summary: &Summary, load: Load, turn: Turn, position: u32) -> Rank {
    match (question.strategy, question.session) {
        (Strategy::LeastLoaded, _) | (Strategy::Session, None) => least_loaded(summary, load),
        (Strategy::RoundRobin, _) => round_robin(turn, position),
        (Strategy::Weighted, _) => weighted(summary, load, turn, position),
        (Strategy::Session, Some(id)) => by_session(id, summary),
        (Strategy::Prefix, _) => by_prefix(question.prefix, summary, load, turn, position),
    }
}

/// The endpoint the request goes to: the first of those with the lowest rank.
///
/// # Errors
/// When it has no place now; see [`NoPlace`].
pub fn choose(table: &RoutingTable, loads: &[Load], question: &Question<'_>) -> Result<u32, NoPlace> {
    let places = table.candidates(question.model);
    let turn = Turn::new(question.turn, places.len());
    let walk = Walk {
        table,
        loads,
        question,
        places,
    };
    match (question.strategy, question.session) {
        (Strategy::LeastLoaded, _) | (Strategy::Session, None) => {
            walk.lowest(|_, summary, load| least_loaded(summary, load))
        }
        (Strategy::RoundRobin, _) => walk.lowest(|position, _, _| round_robin(turn, position)),
        (Strategy::Weighted, _) => {
            walk.lowest(|position, summary, load| weighted(summary, load, turn, position))
        }
        (Strategy::Session, Some(id)) => walk.lowest(|_, summary, _| by_session(id, summary)),
        (Strategy::Prefix, _) => {
            walk.lowest(|position, summary, load| by_prefix(question.prefix, summary, load, turn, position))
        }
    }
}

/// A walk over the candidates of a question.
struct Walk<'a> {
    table: &'a RoutingTable,
    loads: &'a [Load],
    question: &'a Question<'a>,
    places: &'a [u32],
}

impl Walk<'_> {
    /// One that sleeps only when none that is awake can take it: to wake an engine costs more than any strategy gains.
    fn lowest(&self, rank: impl Fn(u32, &Summary, Load) -> Rank) -> Result<u32, NoPlace> {
        if self.places.is_empty() {
            return Err(NoPlace::UnknownModel);
        }
        match self.lowest_that_is(State::Ready, &rank) {
            Err(why_not) => match self.lowest_that_is(State::Asleep, &rank) {
                Err(NoPlace::NoneRoutable) => Err(why_not),
                found => found,
            },
            found => found,
        }
    }

    fn lowest_that_is(
        &self,
        state: State,
        rank: impl Fn(u32, &Summary, Load) -> Rank,
    ) -> Result<u32, NoPlace> {
        // Most requests may go anywhere, and then nothing but the summaries is looked at.
        if self.question.pin.is_none() && self.question.tried.is_empty() {
            self.lowest_of(state, |_| true, rank)
        } else {
            self.lowest_of(state, |index| self.may_go_to(index), rank)
        }
    }

    fn may_go_to(&self, index: u32) -> bool {
        !self.question.tried.contains(&index)
            && self.question.pin.is_none_or(|pin| {
                let endpoint = self.table.endpoints().get(index as usize);
                endpoint.is_some_and(|endpoint| endpoint.key.node == *pin)
            })
    }

    /// The rules are those of [`eligible`], without a branch that depends on a candidate: which of thousands are full
    /// cannot be foreseen by the processor either.
    #[inline(always)]
    fn lowest_of(
        &self,
        state: State,
        may_go_to: impl Fn(u32) -> bool,
        rank: impl Fn(u32, &Summary, Load) -> Rank,
    ) -> Result<u32, NoPlace> {
        let summaries = self.table.summaries();
        let mut any_full = false;
        let mut best = Rank::LAST;
        let mut chosen = None;
        for (position, &index) in (0_u32..).zip(self.places) {
            let Some(summary) = summaries.get(index as usize) else {
                continue;
            };
            let load = self.loads.get(index as usize).copied().unwrap_or_default();
            let would_do = (summary.state == state) & !load.quarantined & may_go_to(index);
            let full = load.used >= summary.slots_total;
            any_full |= would_do & full;
            let rank = rank(position, summary, load);
            let rank = if would_do & !full { rank } else { Rank::LAST };
            if rank < best {
                best = rank;
                chosen = Some(index);
            }
        }
        chosen.ok_or(if any_full {
            NoPlace::Full
        } else {
            NoPlace::NoneRoutable
        })
    }
}

#[cfg(test)]
mod tests;
