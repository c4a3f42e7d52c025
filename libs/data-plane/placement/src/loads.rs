//! The loads of all endpoints, in the form in which a choice compares them.
//!
//! Each request changes a load twice, and a choice may compare thousands of endpoints. An
//! endpoint's ranks are therefore computed when its load changes, and a choice only searches for
//! the lowest number.

use routing_table::RoutingTable;

use crate::{
    load::{Availability, Load},
    rank::{Rank, Utilization, least_loaded, spread},
};

/// The [`Load`] of each endpoint of a table, at the same indices. It is updated in place, one
/// endpoint at a time.
#[derive(Debug, Clone, Default)]
pub struct Loads {
    loads: Vec<Load>,
    // What strategies compare: one contiguous vector each.
    least_loaded: Vec<Rank>,
    busy: Vec<Utilization>,
    spread: Vec<Rank>,
    hashes: Vec<u64>,
}

impl Loads {
    /// Makes room for the endpoints up to `index`. They are unavailable until they are
    /// [`set`](Self::set).
    pub fn ensure(&mut self, index: u32) {
        let count = (index as usize).saturating_add(1).max(self.loads.len());
        self.loads.resize(count, Load::default());
        self.least_loaded.resize(count, Rank::LAST);
        self.busy.resize(count, Utilization::LAST);
        self.spread.resize(count, Rank::LAST);
        self.hashes.resize(count, 0);
    }

    /// Updates the endpoint at `index` of `table`. Call it when its load or its report changes.
    pub fn set(&mut self, table: &RoutingTable, index: u32, load: Load) {
        let Some(summary) = table.summaries().get(index as usize) else {
            return;
        };
        if self.loads.len() <= index as usize {
            self.ensure(index);
        }
        let index = index as usize;
        if let (Some(at), Some(rank), Some(busy), Some(spread_rank), Some(hash)) = (
            self.loads.get_mut(index),
            self.least_loaded.get_mut(index),
            self.busy.get_mut(index),
            self.spread.get_mut(index),
            self.hashes.get_mut(index),
        ) {
            *at = load;
            *rank = least_loaded(summary, load);
            *busy = Utilization::new(summary, load);
            *spread_rank = spread(summary, load);
            *hash = summary.hash;
        }
    }

    /// The load of the endpoint at `index`; an unknown endpoint is idle.
    #[must_use]
    pub fn get(&self, index: u32) -> Load {
        self.loads.get(index as usize).copied().unwrap_or_default()
    }

    /// Whether the endpoint at `index` could take a request now. It may have to start its engine.
    #[must_use]
    pub fn has_room(&self, index: u32) -> bool {
        matches!(
            self.busy(index).class(),
            Availability::Ready | Availability::ScaledToZero
        )
    }

    pub(crate) fn least_loaded(&self, index: u32) -> Rank {
        let rank = self.least_loaded.get(index as usize);
        rank.copied().unwrap_or(Rank::LAST)
    }

    pub(crate) fn busy(&self, index: u32) -> Utilization {
        self.busy
            .get(index as usize)
            .copied()
            .unwrap_or(Utilization::LAST)
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
