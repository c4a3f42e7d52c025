//! What a request has been through: its tries, and whether there may be another.

use std::{sync::Arc, time::Duration};

use admission::{Failure, Lease, Outcome, Priority, Ticket, Wish};
use routing_table::EndpointKey;
use tokio::time::Instant;

use crate::reply::Fault;

/// The most tries of one request. Three replicas that all fail it point at the request.
const MAX_TRIES: u32 = 3;
/// The most endpoints one request finds unreachable before it gives up. A refused connection costs a millisecond,
/// one that is not answered a second.
const MAX_UNREACHABLE: u32 = 8;
/// The most often one request is told that an endpoint is busy after all. Each time that endpoint is left alone for a
/// quarter of a second, so that the request's patience ends before this; it only bounds the unforeseen.
const MAX_REFUSALS: u32 = 1000;

/// How long a request may wait for a slot, where that is longer or shorter than the configured time. An extension of
/// requests that come from within the process: a task that nobody sits and waits for has more patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience(pub Duration);

/// One request on its way to an answer.
#[derive(Debug)]
pub(crate) struct Journey {
    pub(crate) model: String,
    /// What its client called the model, where that is another name.
    pub(crate) alias: Option<String>,
    pub(crate) wish: Arc<Wish>,
    pub(crate) priority: Priority,
    pub(crate) deadline: Option<Instant>,
    pub(crate) patience: Option<Patience>,
    /// Its place in the order of arrival, once it has one.
    pub(crate) ticket: Option<Ticket>,
    /// Lives of endpoints that failed it.
    pub(crate) tried: Vec<(EndpointKey, u64)>,
    pub(crate) attempts: u32,
    failures: u32,
    unreachable: u32,
    refusals: u32,
    /// One try sent it a second time, on a fresh connection. That was outside the budget, and counts as a try.
    pub(crate) was_resent: bool,
    pub(crate) queued: Duration,
    pub(crate) last_fault: Option<Fault>,
}

impl Journey {
    pub(crate) fn new(model: String, wish: Arc<Wish>, priority: Priority, deadline: Option<Instant>) -> Self {
        Self {
            model,
            alias: None,
            wish,
            priority,
            deadline,
            patience: None,
            ticket: None,
            tried: Vec::new(),
            attempts: 0,
            failures: 0,
            unreachable: 0,
            refusals: 0,
            was_resent: false,
            queued: Duration::ZERO,
            last_fault: None,
        }
    }

    /// How much longer it may wait, in all its tries together; `longest` when it has no patience of its own.
    pub(crate) fn patience_left(&self, longest: Duration) -> Duration {
        self.patience
            .map_or(longest, |Patience(longest)| longest)
            .saturating_sub(self.queued)
    }

    /// What its client is told when `fault` ends it.
    pub(crate) fn ends_with(&self, fault: Fault) -> Fault {
        let queued = u64::try_from(self.queued.as_millis()).unwrap_or(u64::MAX);
        Fault {
            spent: Some((self.attempts, queued)),
            ..fault
        }
    }

    /// A slot was found.
    pub(crate) fn found(&mut self, lease: &Lease, waited: Duration) {
        self.queued += waited;
        self.ticket = Some(lease.ticket());
        self.attempts += 1;
    }

    /// A try came to nothing. Whether there may be another; `spend` takes one retry from the common budget.
    pub(crate) fn may_try_again(
        &mut self,
        life: Option<(EndpointKey, u64)>,
        outcome: Outcome,
        spend: impl FnOnce() -> bool,
    ) -> bool {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return false;
        }
        match outcome {
            // Nothing was spent upstream: going elsewhere is free, and the quarantine keeps it from coming back.
            Outcome::Failed(Failure::Unreachable) => {
                self.unreachable += 1;
                self.unreachable < MAX_UNREACHABLE
            }
            // Somebody else was faster, or the slot was not free yet after all. It stands in line again, at its old
            // place, for as long as it would have waited anyway.
            Outcome::Refused => {
                self.refusals += 1;
                self.refusals < MAX_REFUSALS
            }
            Outcome::Failed(Failure::Broken) | Outcome::Served => {
                self.failures += 1;
                self.tried.extend(life);
                self.failures + u32::from(self.was_resent) < MAX_TRIES && spend()
            }
        }
    }
}
