//! The waiting requests for one model, in order of arrival within their priority.

use std::{collections::BTreeMap, sync::Arc};

use routing_table::Endpoint;

use crate::request::{Priority, RoutingPreference, Ticket};

/// How many interactive requests are served before one batch request while both wait. Batch
/// requests get at least a fifth of the slots, so they are late but never starve.
const INTERACTIVE_PER_BATCH: u32 = 4;

/// A waiting request. `W` wakes it.
#[derive(Debug)]
pub(crate) struct QueuedRequest<W> {
    pub(crate) waker: W,
    pub(crate) preference: Arc<RoutingPreference>,
    pub(crate) tried: Vec<Arc<Endpoint>>,
}

impl<W> QueuedRequest<W> {
    /// Whether every endpoint of the model may serve it. If no endpoint can serve such a request,
    /// none can serve any other request for the model.
    pub(crate) fn is_unrestricted(&self) -> bool {
        self.tried.is_empty()
            && self.preference.pin.is_none()
            && self.preference.context.at_least.is_none()
    }
}

/// A queue that is first come, first served within a priority. A retry keeps its ticket and so its
/// position.
#[derive(Debug)]
pub(crate) struct Queue<W> {
    interactive: BTreeMap<Ticket, QueuedRequest<W>>,
    batch: BTreeMap<Ticket, QueuedRequest<W>>,
    /// Interactive requests served since the last batch request, while batch requests waited.
    since_batch: u32,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self {
            interactive: BTreeMap::new(),
            batch: BTreeMap::new(),
            since_batch: 0,
        }
    }
}

impl<W> Queue<W> {
    fn of_priority(&mut self, priority: Priority) -> &mut BTreeMap<Ticket, QueuedRequest<W>> {
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

    /// The number of waiting requests of one priority.
    pub(crate) fn depth(&self, priority: Priority) -> usize {
        match priority {
            Priority::Interactive => self.interactive.len(),
            Priority::Batch => self.batch.len(),
        }
    }

    pub(crate) fn insert(&mut self, priority: Priority, ticket: Ticket, request: QueuedRequest<W>) {
        self.of_priority(priority).insert(ticket, request);
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<QueuedRequest<W>> {
        self.interactive
            .remove(&ticket)
            .or_else(|| self.batch.remove(&ticket))
    }

    /// Removes a request that gets a slot now.
    pub(crate) fn pop(&mut self, ticket: Ticket) -> Option<QueuedRequest<W>> {
        if let Some(request) = self.batch.remove(&ticket) {
            self.since_batch = 0;
            return Some(request);
        }
        self.since_batch = if self.batch.is_empty() {
            0
        } else {
            self.since_batch.saturating_add(1)
        };
        self.interactive.remove(&ticket)
    }

    /// Whether no waiting request must be served before one with this priority and ticket.
    ///
    /// Restricted requests do not block others: there may be room elsewhere.
    pub(crate) fn is_next(&self, priority: Priority, ticket: Ticket) -> bool {
        let has_earlier = |requests: &BTreeMap<Ticket, QueuedRequest<W>>| {
            let mut earlier = requests.range(..ticket);
            earlier.any(|(_, request)| request.is_unrestricted())
        };
        match priority {
            Priority::Interactive => !has_earlier(&self.interactive),
            Priority::Batch => {
                let mut interactive = self.interactive.values();
                !has_earlier(&self.batch) && !interactive.any(QueuedRequest::is_unrestricted)
            }
        }
    }

    /// The request that has waited longest, of any priority.
    pub(crate) fn oldest(&self) -> Option<Ticket> {
        let first = |requests: &BTreeMap<Ticket, QueuedRequest<W>>| {
            requests.first_key_value().map(|(ticket, _)| *ticket)
        };
        first(&self.interactive)
            .into_iter()
            .chain(first(&self.batch))
            .min()
    }

    /// All waiting requests, in the order in which they are served.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = (Ticket, &QueuedRequest<W>)> {
        let (first, second) = if self.since_batch >= INTERACTIVE_PER_BATCH {
            (&self.batch, &self.interactive)
        } else {
            (&self.interactive, &self.batch)
        };
        first
            .iter()
            .chain(second)
            .map(|(ticket, request)| (*ticket, request))
    }

    /// How many requests are served before a new request of this priority, as far as is known.
    pub(crate) fn ahead_of_new(&self, priority: Priority) -> usize {
        match priority {
            Priority::Interactive => self.interactive.len(),
            Priority::Batch => self.len(),
        }
    }

    /// How many requests are served before `ticket`, as far as is known.
    pub(crate) fn ahead_of(&self, ticket: Ticket) -> usize {
        if self.batch.contains_key(&ticket) {
            self.interactive.len() + self.batch.range(..ticket).count()
        } else {
            self.interactive.range(..ticket).count()
        }
    }
}
