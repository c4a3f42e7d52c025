//! The requests that wait for one model, in order of arrival within their priority.

use std::{collections::BTreeMap, sync::Arc};

use routing_table::Endpoint;

use crate::{Priority, RoutingPreference, Ticket};

/// How many interactive requests are served before one batch request, while both wait: batch work
/// gets a fifth of the slots at the worst, so that it is late but never starved.
const INTERACTIVE_PER_BATCH: u32 = 4;

/// One waiting request. `W` is how it is woken.
#[derive(Debug)]
pub(crate) struct Waiter<W> {
    pub(crate) wake: W,
    pub(crate) wish: Arc<RoutingPreference>,
    pub(crate) tried: Vec<Arc<Endpoint>>,
}

impl<W> Waiter<W> {
    /// Whether any endpoint would do. If such a request has no place, nobody has.
    pub(crate) fn goes_anywhere(&self) -> bool {
        self.tried.is_empty() && self.wish.pin.is_none()
    }
}

/// First come, first served within a priority; a request that is tried again keeps its ticket and
/// so its place.
#[derive(Debug)]
pub(crate) struct Line<W> {
    interactive: BTreeMap<Ticket, Waiter<W>>,
    batch: BTreeMap<Ticket, Waiter<W>>,
    /// Interactive requests served since the last batch request, while batch requests waited.
    since_batch: u32,
}

impl<W> Default for Line<W> {
    fn default() -> Self {
        Self {
            interactive: BTreeMap::new(),
            batch: BTreeMap::new(),
            since_batch: 0,
        }
    }
}

impl<W> Line<W> {
    fn class(&mut self, priority: Priority) -> &mut BTreeMap<Ticket, Waiter<W>> {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Batch => &mut self.batch,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.interactive.len() + self.batch.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of one priority wait.
    pub(crate) fn waiting(&self, priority: Priority) -> usize {
        match priority {
            Priority::Interactive => self.interactive.len(),
            Priority::Batch => self.batch.len(),
        }
    }

    pub(crate) fn insert(&mut self, priority: Priority, ticket: Ticket, waiter: Waiter<W>) {
        self.class(priority).insert(ticket, waiter);
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Waiter<W>> {
        self.interactive
            .remove(&ticket)
            .or_else(|| self.batch.remove(&ticket))
    }

    /// Takes a request out because it is served now.
    pub(crate) fn serve(&mut self, ticket: Ticket) -> Option<Waiter<W>> {
        if let Some(waiter) = self.batch.remove(&ticket) {
            self.since_batch = 0;
            return Some(waiter);
        }
        self.since_batch = if self.batch.is_empty() {
            0
        } else {
            self.since_batch.saturating_add(1)
        };
        self.interactive.remove(&ticket)
    }

    /// Whether nobody has to be served before a request with this priority and ticket.
    ///
    /// Who waits for a particular endpoint stands in nobody's way: there may be room elsewhere.
    pub(crate) fn is_next(&self, priority: Priority, ticket: Ticket) -> bool {
        let ahead = |class: &BTreeMap<Ticket, Waiter<W>>| {
            class
                .range(..ticket)
                .any(|(_, waiter)| waiter.goes_anywhere())
        };
        match priority {
            Priority::Interactive => !ahead(&self.interactive),
            Priority::Batch => {
                !ahead(&self.batch) && !self.interactive.values().any(Waiter::goes_anywhere)
            }
        }
    }

    /// The request that has waited longest, whatever its priority.
    pub(crate) fn oldest(&self) -> Option<Ticket> {
        let first = |class: &BTreeMap<Ticket, Waiter<W>>| {
            class.first_key_value().map(|(ticket, _)| *ticket)
        };
        first(&self.interactive)
            .into_iter()
            .chain(first(&self.batch))
            .min()
    }

    /// All who wait, in the order in which they are to be served next.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = (Ticket, &Waiter<W>)> {
        let (first, second) = if self.since_batch >= INTERACTIVE_PER_BATCH {
            (&self.batch, &self.interactive)
        } else {
            (&self.interactive, &self.batch)
        };
        first
            .iter()
            .chain(second)
            .map(|(ticket, waiter)| (*ticket, waiter))
    }

    /// How many are served before a request of this priority that comes now, as far as is known.
    pub(crate) fn before(&self, priority: Priority) -> usize {
        match priority {
            Priority::Interactive => self.interactive.len(),
            Priority::Batch => self.len(),
        }
    }

    /// How many are served before `ticket`, as far as is known now.
    pub(crate) fn ahead_of(&self, ticket: Ticket) -> usize {
        if self.batch.contains_key(&ticket) {
            self.interactive.len() + self.batch.range(..ticket).count()
        } else {
            self.interactive.range(..ticket).count()
        }
    }
}
