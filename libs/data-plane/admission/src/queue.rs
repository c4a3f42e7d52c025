//! The waiting requests for one model, by priority.

use crate::{
    fair_queue::FairQueue,
    queued_request::QueuedRequest,
    request::{Flow, Priority, Ticket},
};

/// How many interactive requests are served before one batch request while both wait. Batch
/// requests get at least a fifth of the slots, so they are late but never starve.
const INTERACTIVE_PER_BATCH: u32 = 4;

/// A queue that is fair between keys within a priority, and first come, first served within a key.
/// A retry keeps its ticket and so its position within its key.
#[derive(Debug)]
pub(crate) struct Queue<W> {
    interactive: FairQueue<W>,
    batch: FairQueue<W>,
    /// Interactive requests served since the last batch request, while batch requests waited.
    since_batch: u32,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self {
            interactive: FairQueue::default(),
            batch: FairQueue::default(),
            since_batch: 0,
        }
    }
}

impl<W> Queue<W> {
    /// The waiting requests of one priority.
    pub(crate) fn of_priority(&self, priority: Priority) -> &FairQueue<W> {
        match priority {
            Priority::Interactive => &self.interactive,
            Priority::Batch => &self.batch,
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
        self.of_priority(priority).len()
    }

    pub(crate) fn insert(
        &mut self,
        priority: Priority,
        ticket: Ticket,
        flow: Flow<'_>,
        request: QueuedRequest<W>,
    ) {
        let queue = match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Batch => &mut self.batch,
        };
        queue.insert(ticket, flow, request);
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<QueuedRequest<W>> {
        self.interactive
            .remove(ticket)
            .or_else(|| self.batch.remove(ticket))
    }

    /// Removes a request that gets a slot now.
    pub(crate) fn pop(&mut self, ticket: Ticket) -> Option<QueuedRequest<W>> {
        if let Some(request) = self.batch.pop(ticket) {
            self.since_batch = 0;
            return Some(request);
        }
        self.since_batch = if self.batch.is_empty() {
            0
        } else {
            self.since_batch.saturating_add(1)
        };
        self.interactive.pop(ticket)
    }

    /// Whether no waiting request must be served before a new one with this priority.
    ///
    /// Restricted requests do not block others: there may be room elsewhere.
    pub(crate) fn is_next(&self, priority: Priority) -> bool {
        match priority {
            Priority::Interactive => !self.interactive.has_unrestricted(),
            Priority::Batch => {
                !self.batch.has_unrestricted() && !self.interactive.has_unrestricted()
            }
        }
    }

    /// The same for a retry, which has waited for its turn before: only earlier requests of its
    /// own flow are served before it.
    pub(crate) fn is_retry_next(&self, priority: Priority, flow: Flow<'_>, ticket: Ticket) -> bool {
        match priority {
            Priority::Interactive => !self.interactive.has_earlier(flow, ticket),
            Priority::Batch => {
                !self.batch.has_earlier(flow, ticket) && !self.interactive.has_unrestricted()
            }
        }
    }

    /// The request that has waited longest, of any priority.
    pub(crate) fn oldest(&self) -> Option<Ticket> {
        let both = [self.interactive.oldest(), self.batch.oldest()];
        both.into_iter().flatten().min()
    }

    /// All waiting requests, in the order in which they are served.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = (Ticket, &QueuedRequest<W>)> {
        let (first, second) = if self.since_batch >= INTERACTIVE_PER_BATCH {
            (&self.batch, &self.interactive)
        } else {
            (&self.interactive, &self.batch)
        };
        first.in_order().chain(second.in_order())
    }

    /// How many requests are served before a new request of this priority, at most.
    pub(crate) fn ahead_of_new(&self, priority: Priority) -> usize {
        match priority {
            Priority::Interactive => self.interactive.len(),
            Priority::Batch => self.len(),
        }
    }

    /// How many requests are served before `ticket`, as far as is known.
    pub(crate) fn ahead_of(&self, ticket: Ticket) -> usize {
        if self.batch.contains(ticket) {
            self.interactive.len() + self.batch.ahead_of(ticket)
        } else {
            self.interactive.ahead_of(ticket)
        }
    }
}
