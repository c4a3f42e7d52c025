//! What the data path knows of all endpoints, kept in the form in which a choice compares them.
//!
//! A load changes twice for a request, and a choice among thousands looks at all of them: so where
//! an endpoint stands is worked out when its load changes, and a choice only looks for the lowest
//! number of many.

use routing_table::{RoutingTable, State, Summary};

use crate::{
    Load,
    rank::{BusyPart, Rank, least_loaded, spread},
};

/// Whether an endpoint can take a request, best first. It counts before everything a strategy says:
/// to wake an engine costs more than any strategy gains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// It can.
    Ready,
    /// It can, after it has started its engine.
    Asleep,
    /// It could, but all its slots are taken.
    Full,
    /// It cannot: it drains, is not ready, or is in quarantine.
    Closed,
}

impl Class {
    pub(crate) fn of(summary: &Summary, load: Load) -> Self {
        let open = match summary.state {
            State::Ready => Self::Ready,
            State::Asleep => Self::Asleep,
            State::Draining | State::NotReady => return Self::Closed,
        };
        if load.quarantined {
            Self::Closed
        } else if load.used >= summary.slots_total {
            Self::Full
        } else {
            open
        }
    }
}

/// The [`Load`] of each endpoint of a table, at the same indices. It is changed in place, one
/// endpoint at a time.
#[derive(Debug, Clone, Default)]
pub struct Loads {
    loads: Vec<Load>,
    // What strategies compare, each side by side.
    least_loaded: Vec<Rank>,
    busy: Vec<BusyPart>,
    spread: Vec<Rank>,
    hashes: Vec<u64>,
}

impl Loads {
    /// Makes room for the endpoint at `index`, and for those before it. They can take nothing until
    /// they are [`set`](Self::set).
    pub fn ensure(&mut self, index: u32) {
        let count = (index as usize).saturating_add(1).max(self.loads.len());
        self.loads.resize(count, Load::default());
        self.least_loaded.resize(count, Rank::LAST);
        self.busy.resize(count, BusyPart::LAST);
        self.spread.resize(count, Rank::LAST);
        self.hashes.resize(count, 0);
    }

    /// The endpoint at `index` of `table` has this load now, or its report is new.
    pub fn set(&mut self, table: &RoutingTable, index: u32, load: Load) {
        let Some(summary) = table.summaries().get(index as usize) else {
            return;
        };
        if self.loads.len() <= index as usize {
            self.ensure(index);
        }
        let index = index as usize;
        if let (Some(at), Some(rank), Some(busy), Some(wide), Some(hash)) = (
            self.loads.get_mut(index),
            self.least_loaded.get_mut(index),
            self.busy.get_mut(index),
            self.spread.get_mut(index),
            self.hashes.get_mut(index),
        ) {
            *at = load;
            *rank = least_loaded(summary, load);
            *busy = BusyPart::of(summary, load);
            *wide = spread(summary, load);
            *hash = summary.hash;
        }
    }

    /// The load of the endpoint at `index`; one that is not there is idle.
    #[must_use]
    pub fn get(&self, index: u32) -> Load {
        self.loads.get(index as usize).copied().unwrap_or_default()
    }

    /// Whether the endpoint at `index` could take a request now, if it has to start its engine for
    /// it or not.
    #[must_use]
    pub fn has_room(&self, index: u32) -> bool {
        matches!(self.busy(index).class(), Class::Ready | Class::Asleep)
    }

    pub(crate) fn least_loaded(&self, index: u32) -> Rank {
        let rank = self.least_loaded.get(index as usize);
        rank.copied().unwrap_or(Rank::LAST)
    }

    pub(crate) fn busy(&self, index: u32) -> BusyPart {
        self.busy
            .get(index as usize)
            .copied()
            .unwrap_or(BusyPart::LAST)
    }

    pub(crate) fn spread(&self, index: u32) -> Rank {
        self.spread
            .get(index as usize)
            .copied()
            .unwrap_or(Rank::LAST)
    }

    pub(crate) fn hash(&self, index: u32) -> u64 {
        self.hashes.get(index as usize).copied().unwrap_or_default()
    }
}
