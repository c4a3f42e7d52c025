//! The choice: a walk over the candidates, and the same rules candidate by candidate for people.

use std::{cell::OnceCell, ops::Range};

use pool_registry_types::NodeId;
use routing_table::{RoutingTable, State, Summary};

use crate::{
    Candidate, Load, Loads, NoPlace, PlacementQuery, PrefixMatch, Skip, Strategy,
    loads::Class,
    rank::{BusyPart, Rank, Turn, WHOLE, distance, least_loaded, round_robin, spread, weighted},
};

/// How many blocks of a prompt an endpoint must have seen for that to count: 1 KiB, about 256
/// tokens. Less is computed in the time of a few tokens of an answer.
const FEWEST_KNOWN_BLOCKS: u32 = 4;

/// Why an endpoint cannot take the request, when it cannot.
fn why_not(
    index: u32,
    table: &RoutingTable,
    summary: &Summary,
    load: Load,
    question: &PlacementQuery<'_>,
) -> Option<Skip> {
    match summary.state {
        State::Draining => return Some(Skip::Draining),
        State::NotReady => return Some(Skip::NotReady),
        State::Ready | State::Asleep => {}
    }
    if load.quarantined {
        return Some(Skip::Quarantined);
    }
    if !is_on_pin(table, index, question) {
        return Some(Skip::NotPinned);
    }
    if question.tried.contains(&index) {
        return Some(Skip::Tried);
    }
    (load.used >= summary.slots_total).then_some(Skip::Full)
}

/// Whether an endpoint is on the node that the question asks for, if it asks for one.
fn is_on_pin(table: &RoutingTable, index: u32, question: &PlacementQuery<'_>) -> bool {
    let is_on = |node: &NodeId| {
        let endpoint = table.endpoint(index);
        endpoint.is_some_and(|endpoint| endpoint.key().node == *node)
    };
    question.pin.is_none_or(is_on)
}

/// All candidates for the question in the table's order, each with its rank and why it is skipped.
///
/// `loads` are those of the table.
pub fn explain<'a>(
    table: &'a RoutingTable,
    loads: &'a Loads,
    question: &'a PlacementQuery<'a>,
) -> impl Iterator<Item = Candidate<'a>> {
    let walk = Walk::new(table, loads, question, table.candidates(question.model));
    let field = Field::new(walk.first_in_turn());
    (0_u32..)
        .zip(walk.all)
        .filter_map(move |(position, &index)| {
            let (endpoint, report) = (table.endpoint(index)?, table.report(index)?);
            let summary = table.summaries().get(index as usize)?;
            let load = loads.get(index);
            Some(Candidate {
                index,
                endpoint,
                report,
                load,
                rank: walk.rank(summary, load, walk.turn.away(position), &field),
                skip: why_not(index, table, summary, load, question),
            })
        })
}

/// The candidates that can take the request, as far as a new conversation looks at them.
#[derive(Debug)]
struct Field {
    /// The first choice for a new conversation, and its rank.
    first: (Rank, u32),
    /// Conversations and slots of all of them together. They are counted only where that may
    /// decide.
    totals: OnceCell<(u64, u64)>,
}

impl Field {
    fn new(first: (Rank, u32)) -> Self {
        Self {
            first,
            totals: OnceCell::new(),
        }
    }
}

/// The endpoint that holds the request's conversation, if the request can go there. It is where
/// [`choose`] goes, without looking at any other one.
#[must_use]
pub fn at_home(table: &RoutingTable, loads: &Loads, question: &PlacementQuery<'_>) -> Option<u32> {
    let index = table.by_hash(question.home?)?;
    let can_take_it = loads.busy(index).class() == Class::Ready
        && !question.tried.contains(&index)
        && is_on_pin(table, index, question)
        && table.position(question.model, index).is_some();
    can_take_it.then_some(index)
}

/// The endpoint the request goes to: the first of those with the lowest rank.
///
/// `loads` are those of the table.
///
/// # Errors
/// When it has no place now; see [`NoPlace`].
pub fn choose(
    table: &RoutingTable,
    loads: &Loads,
    question: &PlacementQuery<'_>,
) -> Result<u32, NoPlace> {
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

/// A walk over the candidates of a question. Each strategy has one, over nothing but the numbers
/// that it compares.
struct Walk<'a> {
    table: &'a RoutingTable,
    loads: &'a Loads,
    question: &'a PlacementQuery<'a>,
    /// Every candidate of the model.
    all: &'a [u32],
    /// Positions in `all` of those that a pin leaves.
    open: Range<usize>,
    turn: Turn,
}

/// The best candidate and what is best about it.
type Found = (Class, u32);

impl<'a> Walk<'a> {
    fn new(
        table: &'a RoutingTable,
        loads: &'a Loads,
        question: &'a PlacementQuery<'a>,
        all: &'a [u32],
    ) -> Self {
        Self {
            table,
            loads,
            question,
            all,
            open: question
                .pin
                .map_or(0..all.len(), |pin| on_node(table, all, pin)),
            turn: Turn::new(question.turn, all.len()),
        }
    }

    /// The candidates that a pin leaves.
    fn open(&self) -> &'a [u32] {
        self.all.get(self.open.clone()).unwrap_or_default()
    }

    /// The candidates from the one whose turn it is, and then those before it.
    fn in_turn(&self) -> [&'a [u32]; 2] {
        let start = self.turn.start().clamp(self.open.start, self.open.end);
        let slice = |range| self.all.get(range).unwrap_or_default();
        [slice(start..self.open.end), slice(self.open.start..start)]
    }

    /// The first of those with the lowest `key`, and the key.
    #[inline(always)]
    fn lowest<K: Ord + Copy>(
        &self,
        places: &[u32],
        best: (K, u32),
        key: impl Fn(u32) -> K,
    ) -> (K, u32) {
        let lower = |(best, chosen): (K, u32), index: u32| {
            let key = key(index);
            if key < best {
                (key, index)
            } else {
                (best, chosen)
            }
        };
        // Most requests have not been anywhere yet, and then no candidate need be looked for in a
        // list.
        match self.question.tried {
            [] => places.iter().copied().fold(best, lower),
            tried => {
                let left = places
                    .iter()
                    .copied()
                    .filter(|index| !tried.contains(index));
                left.fold(best, lower)
            }
        }
    }

    fn least_loaded(&self) -> Found {
        let key = |index| self.loads.least_loaded(index);
        let (rank, index) = self.lowest(self.open(), (Rank::LAST, 0), key);
        (rank.class(), index)
    }

    fn round_robin(&self) -> Found {
        let mut best = (Class::Closed, 0);
        for places in self.in_turn() {
            for &index in places
                .iter()
                .filter(|index| !self.question.tried.contains(index))
            {
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

    fn weighted(&self) -> Found {
        let mut best = (BusyPart::LAST, 0);
        for places in self.in_turn() {
            best = self.lowest(places, best, |index| self.loads.busy(index));
        }
        (best.0.class(), best.1)
    }

    /// A new session looks at how many sessions there are at each endpoint. How far the endpoint is
    /// from its first choice is worked out for equals only.
    fn session(&self, id: u64) -> Found {
        if let Some(home) = at_home(self.table, self.loads, self.question) {
            return (Class::Ready, home);
        }
        let mut best = (Rank::LAST, 0);
        for &index in self.open() {
            let spread = self.loads.spread(index);
            if spread < best.0 && !self.question.tried.contains(&index) {
                let rank = spread.or_tie(distance(id, self.loads.hash(index)));
                if rank < best.0 {
                    best = (rank, index);
                }
            }
        }
        (best.0.class(), best.1)
    }

    fn prefix(&self) -> Found {
        if let Some(home) = at_home(self.table, self.loads, self.question) {
            return (Class::Ready, home);
        }
        let (spread, first) = self.first_in_turn();
        let known = self.question.prefix.and_then(|prefix| {
            let field = Field::new((spread, first));
            self.known(prefix, &field)
        });
        (spread.class(), known.unwrap_or(first))
    }

    /// The first choice for a new conversation.
    fn first_in_turn(&self) -> (Rank, u32) {
        let mut best = (Rank::LAST, 0);
        for places in self.in_turn() {
            best = self.lowest(places, best, |index| self.loads.spread(index));
        }
        best
    }

    /// The best of those to which the request should go for what they have seen of its prompt.
    /// These are a few of thousands.
    fn known(&self, prefix: &PrefixMatch, field: &Field) -> Option<u32> {
        let seen_by = prefix
            .endpoints()
            .filter_map(|(hash, _)| self.table.by_hash(hash));
        let ranked = seen_by.filter_map(|index| {
            let position = self.table.position(self.question.model, index)?;
            if !self.open.contains(&position) || self.question.tried.contains(&index) {
                return None;
            }
            let summary = self.table.summaries().get(index as usize)?;
            let unseen = self.unseen_where_known(prefix, summary, self.loads.get(index), field)?;
            let away = self.turn.away(u32::try_from(position).ok()?);
            Some((self.loads.spread(index).knowing(unseen).or_tie(away), index))
        });
        ranked.min().map(|(_, index)| index)
    }

    /// The part of the prompt that an endpoint has not seen, of [`WHOLE`], if the request should go
    /// there for what it has seen: that is worth more than how much busier the endpoint is than
    /// the first choice otherwise, and with one more conversation it has no more than its fair
    /// share of them.
    fn unseen_where_known(
        &self,
        prefix: &PrefixMatch,
        summary: &Summary,
        load: Load,
        field: &Field,
    ) -> Option<u32> {
        let (_, blocks) = prefix.endpoints().find(|(hash, _)| *hash == summary.hash)?;
        let busy = BusyPart::of(summary, load);
        let seen = prefix.part_seen_by(summary.hash, WHOLE);
        let is_gain = blocks >= FEWEST_KNOWN_BLOCKS
            && seen > busy.part().saturating_sub(field.first.0.busy());
        let goes_there =
            busy.class() == Class::Ready && is_gain && self.is_fair(summary, load, field);
        goes_there.then_some(WHOLE.saturating_sub(seen))
    }

    /// Whether an endpoint has no more than its fair share of conversations with one more.
    fn is_fair(&self, summary: &Summary, load: Load, field: &Field) -> bool {
        // Whoever has no more than the one with the fewest has no more than the mean.
        let fewest = self.loads.get(field.first.1);
        let slots_of_fewest = self.table.summaries().get(field.first.1 as usize);
        let has_fewest = slots_of_fewest.is_some_and(|of| {
            let own = u64::from(load.conversations) * u64::from(of.slots_total);
            own <= u64::from(fewest.conversations) * u64::from(summary.slots_total)
        });
        has_fewest || {
            let &(conversations, slots) = field.totals.get_or_init(|| self.totals());
            u128::from(load.conversations) * u128::from(slots)
                < (u128::from(conversations) + 1) * u128::from(summary.slots_total)
        }
    }

    /// Conversations and slots of those that can take the request. They are fewer than 2^32 each,
    /// and so far fewer than 2^64 together.
    fn totals(&self) -> (u64, u64) {
        let ready = self.open().iter().copied();
        let ready = ready.filter(|index| self.loads.busy(*index).class() == Class::Ready);
        ready.fold((0, 0), |(conversations, slots), index| {
            let summary = self.table.summaries().get(index as usize);
            let own = summary.map_or(0, |summary| summary.slots_total);
            (
                conversations + u64::from(self.loads.get(index).conversations),
                slots + u64::from(own),
            )
        })
    }

    /// Where a candidate stands by the question's strategy.
    fn rank(&self, summary: &Summary, load: Load, away: u32, field: &Field) -> Rank {
        let question = self.question;
        let busy = BusyPart::of(summary, load);
        let tie = match (question.strategy, question.session) {
            (Strategy::LeastLoaded, _) | (Strategy::Session, None) => {
                return least_loaded(summary, load);
            }
            (Strategy::RoundRobin, _) => return round_robin(busy, away),
            (Strategy::Weighted, _) => return weighted(busy, away),
            (Strategy::Session, Some(id)) => distance(id, summary.hash),
            (Strategy::Prefix, _) => away,
        };
        let spread = spread(summary, load);
        if question.home == Some(summary.hash) && busy.class() == Class::Ready {
            return spread.at_home();
        }
        let prefix = question
            .prefix
            .filter(|_| question.strategy == Strategy::Prefix);
        let unseen =
            prefix.and_then(|prefix| self.unseen_where_known(prefix, summary, load, field));
        unseen
            .map_or(spread, |unseen| spread.knowing(unseen))
            .or_tie(tie)
    }
}

/// Where the candidates on `node` are among all of them: side by side, because they are in the
/// order of their keys.
fn on_node(table: &RoutingTable, all: &[u32], node: &NodeId) -> Range<usize> {
    let node_of = |index: &u32| Some(&table.endpoint(*index)?.key().node);
    let start = all.partition_point(|index| node_of(index) < Some(node));
    start..all.partition_point(|index| node_of(index) <= Some(node))
}
