//! What the data path knows of all endpoints, kept in the form in which a choice compares them.
//!
//! A load changes twice for a request, and a choice among thousands looks at all of them: so where an endpoint stands
//! is worked out when its load changes, and a choice only looks for the lowest number of many.

use routing_table::{RoutingTable, State, Summary};

use crate::{
    Load,
    strategy::{BusyPart, Rank, least_loaded},
};

/// Whether an endpoint can take a request, best first. It counts before everything a strategy says: to wake an engine
/// costs more than any strategy gains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// It can.
    Ready,
    /// It can, after it has started its engine.
    Asleep,
    /// It could, but all its slots are taken.
    Full,
    /// It cannot: it drains, is not ready, or is not trusted.
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

/// The [`Load`] of each endpoint of a table.
#[derive(Debug, Clone, Default)]
pub struct Loads {
    loads: Vec<Load>,
    // What strategies compare, each side by side.
    least_loaded: Vec<Rank>,
    busy: Vec<BusyPart>,
    hashes: Vec<u64>,
}

impl Loads {
    /// The loads of `table`'s endpoints, in its order; those that `loads` does not reach are idle.
    pub fn new(table: &RoutingTable, loads: impl IntoIterator<Item = Load>) -> Self {
        let count = table.summaries().len();
        let mut all = Self {
            loads: Vec::with_capacity(count),
            least_loaded: Vec::with_capacity(count),
            busy: Vec::with_capacity(count),
            hashes: Vec::with_capacity(count),
        };
        let loads = loads.into_iter().chain(std::iter::repeat(Load::default()));
        for (summary, load) in table.summaries().iter().zip(loads) {
            all.loads.push(load);
            all.least_loaded.push(least_loaded(summary, load));
            all.busy.push(BusyPart::of(summary, load));
            all.hashes.push(summary.hash);
        }
        all
    }

    /// The load of one endpoint of `table`, which is the one these loads were made for, has changed.
    pub fn set(&mut self, table: &RoutingTable, index: u32, load: Load) {
        let index = index as usize;
        let Some(summary) = table.summaries().get(index) else {
            return;
        };
        if let (Some(at), Some(rank), Some(busy)) = (
            self.loads.get_mut(index),
            self.least_loaded.get_mut(index),
            self.busy.get_mut(index),
        ) {
            *at = load;
            *rank = least_loaded(summary, load);
            *busy = BusyPart::of(summary, load);
        }
    }

    /// The load of the endpoint at `index`; one that is not there is idle.
    #[must_use]
    pub fn get(&self, index: u32) -> Load {
        self.loads.get(index as usize).copied().unwrap_or_default()
    }

    pub(crate) fn least_loaded(&self, index: u32) -> Rank {
        self.least_loaded
            .get(index as usize)
            .copied()
            .unwrap_or(Rank::LAST)
    }

    pub(crate) fn busy(&self, index: u32) -> BusyPart {
        self.busy.get(index as usize).copied().unwrap_or(BusyPart::LAST)
    }

    pub(crate) fn hash(&self, index: u32) -> u64 {
        self.hashes.get(index as usize).copied().unwrap_or_default()
    }
}
