//! Chooses the endpoint with the lowest rank.

use std::{cell::OnceCell, ops::Range};

use pool_registry_types::NodeId;
use routing_table::{EndpointSummary, RoutingTable};

use crate::{
    load::{Availability, Load},
    loads::Loads,
    prefix::PrefixMatch,
    query::{PlacementError, PlacementQuery},
    rank::{
        FRACTION_ONE, Rank, Turn, Utilization, distance, least_loaded, round_robin, spread,
        weighted,
    },
    strategy::Strategy,
};

/// The shortest prefix match that counts, in blocks: 1 KiB, about 256 tokens. An engine computes
/// less than that in the time of a few output tokens.
const FEWEST_KNOWN_BLOCKS: u32 = 4;

/// Whether an endpoint is on the node to which the query is pinned. An unpinned query accepts
/// every node.
pub(crate) fn is_on_pinned_node(
    table: &RoutingTable,
    index: u32,
    query: &PlacementQuery<'_>,
) -> bool {
    let is_on = |node: &NodeId| {
        let endpoint = table.endpoint(index);
        endpoint.is_some_and(|endpoint| endpoint.key().node == *node)
    };
    query.pin.is_none_or(is_on)
}

/// What a prefix match is weighed against: where the request would go without the match.
#[derive(Debug)]
pub(crate) struct SpreadContext {
    /// The best endpoint for a new conversation, and its rank.
    first: (Rank, u32),
    /// Conversations and slots of all available candidates, counted only when needed.
    totals: OnceCell<(u64, u64)>,
}

impl SpreadContext {
    pub(crate) fn new(first: (Rank, u32)) -> Self {
        Self {
            first,
            totals: OnceCell::new(),
        }
    }
}

/// The endpoint that holds the request's conversation, if it can take the request now.
///
/// [`choose`] returns the same endpoint, but callers that ask here first save the prefix lookup.
#[must_use]
pub fn sticky_endpoint(
    table: &RoutingTable,
    loads: &Loads,
    query: &PlacementQuery<'_>,
) -> Option<u32> {
    let index = table.by_hash(query.sticky?)?;
    let is_available = loads.busy(index).class() == Availability::Ready
        && !query.tried.contains(&index)
        && is_on_pinned_node(table, index, query)
        && table.position(query.model, index).is_some();
    is_available.then_some(index)
}

/// The endpoint with the lowest rank; the first one of equals.
///
/// `loads` must belong to `table`.
///
/// # Errors
/// When no candidate can take the request now; see [`PlacementError`].
pub fn choose(
    table: &RoutingTable,
    loads: &Loads,
    query: &PlacementQuery<'_>,
) -> Result<u32, PlacementError> {
    let all = table.candidates(query.model);
    if all.is_empty() {
        return Err(PlacementError::UnknownModel);
    }
    let selection = Selection::new(table, loads, query, all);
    let (class, index) = match (query.strategy, query.session) {
        (Strategy::LeastLoaded, _) | (Strategy::Session, None) => selection.least_loaded(),
        (Strategy::RoundRobin, _) => selection.round_robin(),
        (Strategy::Weighted, _) => selection.weighted(),
        (Strategy::Session, Some(id)) => selection.session(id),
        (Strategy::Prefix, _) => selection.prefix(),
    };
    match class {
        Availability::Ready | Availability::ScaledToZero => Ok(index),
        Availability::Full => Err(PlacementError::Full),
        Availability::Unavailable => Err(PlacementError::NoneRoutable),
    }
}

/// A pass over the candidates of a query. Each strategy has its own pass, which reads only the
/// numbers that it compares.
pub(crate) struct Selection<'a> {
    table: &'a RoutingTable,
    loads: &'a Loads,
    query: &'a PlacementQuery<'a>,
    /// Every candidate of the model.
    pub(crate) all: &'a [u32],
    /// The positions in `all` of the candidates on the pinned node.
    allowed: Range<usize>,
    pub(crate) turn: Turn,
}

/// The index of the best candidate, and whether it can take the request.
type Best = (Availability, u32);

impl<'a> Selection<'a> {
    pub(crate) fn new(
        table: &'a RoutingTable,
        loads: &'a Loads,
        query: &'a PlacementQuery<'a>,
        all: &'a [u32],
    ) -> Self {
        Self {
            table,
            loads,
            query,
            all,
            allowed: query
                .pin
                .map_or(0..all.len(), |pin| on_node(table, all, pin)),
            turn: Turn::new(query.turn, all.len()),
        }
    }

    /// The candidates on the pinned node.
    fn allowed(&self) -> &'a [u32] {
        self.all.get(self.allowed.clone()).unwrap_or_default()
    }

    /// The candidates in round-robin order: from the one whose turn it is to the last, then from
    /// the first.
    fn in_turn(&self) -> [&'a [u32]; 2] {
        let start = self
            .turn
            .start()
            .clamp(self.allowed.start, self.allowed.end);
        let slice = |range| self.all.get(range).unwrap_or_default();
        [
            slice(start..self.allowed.end),
            slice(self.allowed.start..start),
        ]
    }

    /// The first candidate with the lowest `key`, together with the key.
    #[inline(always)]
    fn lowest<K: Ord + Copy>(
        &self,
        indices: &[u32],
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
        // A first attempt has tried no endpoint and needs no search in `tried`.
        match self.query.tried {
            [] => indices.iter().copied().fold(best, lower),
            tried => {
                let left = indices
                    .iter()
                    .copied()
                    .filter(|index| !tried.contains(index));
                left.fold(best, lower)
            }
        }
    }

    fn least_loaded(&self) -> Best {
        let key = |index| self.loads.least_loaded(index);
        let (rank, index) = self.lowest(self.allowed(), (Rank::LAST, 0), key);
        (rank.class(), index)
    }

    fn round_robin(&self) -> Best {
        let mut best = (Availability::Unavailable, 0);
        for indices in self.in_turn() {
            for &index in indices
                .iter()
                .filter(|index| !self.query.tried.contains(index))
            {
                let class = self.loads.busy(index).class();
                if class == Availability::Ready {
                    return (class, index);
                }
                if class < best.0 {
                    best = (class, index);
                }
            }
        }
        best
    }

    fn weighted(&self) -> Best {
        let mut best = (Utilization::LAST, 0);
        for indices in self.in_turn() {
            best = self.lowest(indices, best, |index| self.loads.busy(index));
        }
        (best.0.class(), best.1)
    }

    /// A new session goes to the endpoint with the fewest sessions per slot. The rendezvous hash is
    /// computed only to break ties.
    fn session(&self, id: u64) -> Best {
        if let Some(home) = sticky_endpoint(self.table, self.loads, self.query) {
            return (Availability::Ready, home);
        }
        let mut best = (Rank::LAST, 0);
        for &index in self.allowed() {
            let spread = self.loads.spread(index);
            if spread < best.0 && !self.query.tried.contains(&index) {
                let rank = spread.with_tie(distance(id, self.loads.hash(index)));
                if rank < best.0 {
                    best = (rank, index);
                }
            }
        }
        (best.0.class(), best.1)
    }

    fn prefix(&self) -> Best {
        if let Some(home) = sticky_endpoint(self.table, self.loads, self.query) {
            return (Availability::Ready, home);
        }
        let (spread, first) = self.first_in_turn();
        let known = self.query.prefix.and_then(|prefix| {
            let context = SpreadContext::new((spread, first));
            self.best_with_prefix(prefix, &context)
        });
        (spread.class(), known.unwrap_or(first))
    }

    /// The best endpoint for a new conversation.
    pub(crate) fn first_in_turn(&self) -> (Rank, u32) {
        let mut best = (Rank::LAST, 0);
        for indices in self.in_turn() {
            best = self.lowest(indices, best, |index| self.loads.spread(index));
        }
        best
    }

    /// The best of the endpoints whose prefix match outweighs their load. Only a few endpoints
    /// have a match.
    fn best_with_prefix(&self, prefix: &PrefixMatch, context: &SpreadContext) -> Option<u32> {
        let seen_by = prefix
            .endpoints()
            .filter_map(|(hash, _)| self.table.by_hash(hash));
        let ranked = seen_by.filter_map(|index| {
            let position = self.table.position(self.query.model, index)?;
            if !self.allowed.contains(&position) || self.query.tried.contains(&index) {
                return None;
            }
            let summary = self.table.summaries().get(index as usize)?;
            let unseen =
                self.unseen_if_preferred(prefix, summary, self.loads.get(index), context)?;
            let away = self.turn.offset_of(u32::try_from(position).ok()?);
            Some((
                self.loads.spread(index).with_prefix(unseen).with_tie(away),
                index,
            ))
        });
        ranked.min().map(|(_, index)| index)
    }

    /// The fraction of the prompt that an endpoint has not seen, if its prefix match outweighs its
    /// load.
    ///
    /// Two conditions hold then. The fraction that it has seen is larger than the difference
    /// between its utilization and that of the best endpoint without a match. With one more
    /// conversation it has at most its fair share of conversations.
    fn unseen_if_preferred(
        &self,
        prefix: &PrefixMatch,
        summary: &EndpointSummary,
        load: Load,
        context: &SpreadContext,
    ) -> Option<u32> {
        let (_, blocks) = prefix.endpoints().find(|(hash, _)| *hash == summary.hash)?;
        let busy = Utilization::new(summary, load);
        let seen = prefix.part_seen_by(summary.hash, FRACTION_ONE);
        let is_gain = blocks >= FEWEST_KNOWN_BLOCKS
            && seen > busy.fraction().saturating_sub(context.first.0.busy());
        let goes_there = busy.class() == Availability::Ready
            && is_gain
            && self.is_within_fair_share(summary, load, context);
        goes_there.then_some(FRACTION_ONE.saturating_sub(seen))
    }

    /// Whether an endpoint has at most its fair share of conversations after one more.
    fn is_within_fair_share(
        &self,
        summary: &EndpointSummary,
        load: Load,
        context: &SpreadContext,
    ) -> bool {
        // The endpoint with the fewest conversations per slot is at or below the mean. So is every
        // endpoint that has no more than it.
        let fewest = self.loads.get(context.first.1);
        let slots_of_fewest = self.table.summaries().get(context.first.1 as usize);
        let has_fewest = slots_of_fewest.is_some_and(|of| {
            let own = u64::from(load.conversations) * u64::from(of.slots_total);
            own <= u64::from(fewest.conversations) * u64::from(summary.slots_total)
        });
        has_fewest || {
            let &(conversations, slots) = context.totals.get_or_init(|| self.totals());
            u128::from(load.conversations) * u128::from(slots)
                < (u128::from(conversations) + 1) * u128::from(summary.slots_total)
        }
    }

    /// Conversations and slots of all available candidates. Each is less than 2^32, so their sum
    /// does not overflow.
    fn totals(&self) -> (u64, u64) {
        let ready = self.allowed().iter().copied();
        let ready = ready.filter(|index| self.loads.busy(*index).class() == Availability::Ready);
        ready.fold((0, 0), |(conversations, slots), index| {
            let summary = self.table.summaries().get(index as usize);
            let own = summary.map_or(0, |summary| summary.slots_total);
            (
                conversations + u64::from(self.loads.get(index).conversations),
                slots + u64::from(own),
            )
        })
    }

    /// The rank of a candidate by the query's strategy.
    pub(crate) fn rank(
        &self,
        summary: &EndpointSummary,
        load: Load,
        offset: u32,
        context: &SpreadContext,
    ) -> Rank {
        let query = self.query;
        let busy = Utilization::new(summary, load);
        let tie = match (query.strategy, query.session) {
            (Strategy::LeastLoaded, _) | (Strategy::Session, None) => {
                return least_loaded(summary, load);
            }
            (Strategy::RoundRobin, _) => return round_robin(busy, offset),
            (Strategy::Weighted, _) => return weighted(busy, offset),
            (Strategy::Session, Some(id)) => distance(id, summary.hash),
            (Strategy::Prefix, _) => offset,
        };
        let spread = spread(summary, load);
        if query.sticky == Some(summary.hash) && busy.class() == Availability::Ready {
            return spread.sticky();
        }
        let prefix = query.prefix.filter(|_| query.strategy == Strategy::Prefix);
        let unseen =
            prefix.and_then(|prefix| self.unseen_if_preferred(prefix, summary, load, context));
        unseen
            .map_or(spread, |unseen| spread.with_prefix(unseen))
            .with_tie(tie)
    }
}

/// The positions of the candidates on `node`. They are contiguous because candidates are sorted by
/// key.
fn on_node(table: &RoutingTable, all: &[u32], node: &NodeId) -> Range<usize> {
    let node_of = |index: &u32| Some(&table.endpoint(*index)?.key().node);
    let start = all.partition_point(|index| node_of(index) < Some(node));
    start..all.partition_point(|index| node_of(index) <= Some(node))
}
