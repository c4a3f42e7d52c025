//! The requests that wait for one model, in order of arrival.

use std::collections::BTreeMap;

use placement::Strategy;
use routing_table::EndpointKey;

use crate::Ticket;

/// One waiting request. `W` is how it is woken.
#[derive(Debug)]
pub(crate) struct Waiter<W> {
    pub(crate) wake: W,
    pub(crate) strategy: Strategy,
    pub(crate) tried: Vec<(EndpointKey, u64)>,
}

/// First come, first served; a request that is tried again keeps its ticket and so its place.
#[derive(Debug)]
pub(crate) struct Line<W>(pub(crate) BTreeMap<Ticket, Waiter<W>>);

impl<W> Default for Line<W> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<W> Line<W> {
    pub(crate) fn oldest(&self) -> Option<Ticket> {
        self.0.first_key_value().map(|(ticket, _)| *ticket)
    }

    /// How many stand before `ticket`.
    pub(crate) fn ahead_of(&self, ticket: Ticket) -> usize {
        self.0.range(..ticket).count()
    }
}
