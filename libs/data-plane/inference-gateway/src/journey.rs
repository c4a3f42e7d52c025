//! What a request has been through: its tries, and whether there may be another.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::{sync::Arc, time::Duration};

use admission::{EndpointFailure, Lease, LeaseOutcome, Priority, RoutingPreference, Ticket};
use routing_table::Endpoint;
use tokio::time::Instant;

use crate::reply::Fault;

/// The most tries of one request. Three replicas that all fail it point at the request.
pub(crate) const MAX_TRIES: u32 = 3;
/// The most endpoints one request finds unreachable before it gives up. A refused connection costs
/// a millisecond, one that is not answered a second.
pub(crate) const MAX_UNREACHABLE: u32 = 8;
/// How often one request may be told that an endpoint is busy after all, for each second that it
/// may wait: an endpoint is left alone for a quarter of a second after the first time, and for
/// longer after each further one.
pub(crate) const REFUSALS_PER_SECOND: u64 = 4;
/// And in any case: a fleet that another control plane fills refuses more often than a single
/// endpoint.
pub(crate) const MIN_REFUSALS: u64 = 32;

/// How long a request may wait for a slot, where that is longer or shorter than the configured
/// time. An extension of requests that come from within the process: a task that nobody sits and
/// waits for has more patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueTimeout(pub Duration);

/// One request on its way to an answer.
#[derive(Debug)]
pub(crate) struct Journey {
    pub(crate) model: String,
    /// What its client called the model, where that is another name.
    pub(crate) alias: Option<String>,
    pub(crate) wish: Arc<RoutingPreference>,
    pub(crate) priority: Priority,
    pub(crate) deadline: Option<Instant>,
    /// The longest it may wait for a slot, in all its tries together.
    patience: Duration,
    /// Its place in the order of arrival, once it has one.
    pub(crate) ticket: Option<Ticket>,
    /// Endpoints that failed it, as they were then.
    pub(crate) tried: Vec<Arc<Endpoint>>,
    pub(crate) attempts: u32,
    failures: u32,
    unreachable: u32,
    refusals: u64,
    /// One try sent it a second time, on a fresh connection. That was outside the budget, and
    /// counts as a try.
    pub(crate) was_resent: bool,
    /// How long it has waited for a slot: in line, and at endpoints that turned out to be busy.
    pub(crate) queued: Duration,
    /// When it asked for its last slot, and how long it had waited by then.
    asked: Option<(Instant, Duration)>,
    pub(crate) last_fault: Option<Fault>,
}

impl Journey {
    pub(crate) fn new(
        model: String,
        wish: Arc<RoutingPreference>,
        priority: Priority,
        deadline: Option<Instant>,
        patience: Duration,
    ) -> Self {
        Self {
            model,
            alias: None,
            wish,
            priority,
            deadline,
            patience,
            ticket: None,
            tried: Vec::new(),
            attempts: 0,
            failures: 0,
            unreachable: 0,
            refusals: 0,
            was_resent: false,
            queued: Duration::ZERO,
            asked: None,
            last_fault: None,
        }
    }

    /// How much longer it may wait, in all its tries together.
    pub(crate) fn patience_left(&self) -> Duration {
        self.patience.saturating_sub(self.queued)
    }

    /// What its client is told when `fault` ends it.
    pub(crate) fn ends_with(&self, fault: Fault) -> Fault {
        let queued = u64::try_from(self.queued.as_millis()).unwrap_or(u64::MAX);
        Fault {
            spent: Some((self.attempts, queued)),
            ..fault
        }
    }

    /// It got the slot that it asked for at `asked`.
    pub(crate) fn found(&mut self, lease: &Lease, asked: Instant) {
        self.asked = Some((asked, self.queued));
        // Most requests find a slot free. They need no second look at the clock.
        if lease.has_waited() {
            self.waited(asked);
        }
        self.ticket = Some(lease.ticket());
        self.attempts = self.attempts.saturating_add(1);
    }

    /// It got no slot since `asked`.
    pub(crate) fn waited(&mut self, asked: Instant) {
        self.queued = self.queued.saturating_add(asked.elapsed());
    }

    fn max_refusals(&self) -> u64 {
        let by_time = self.patience.as_secs().saturating_mul(REFUSALS_PER_SECOND);
        by_time.max(MIN_REFUSALS)
    }

    /// A try came to nothing. Whether there may be another; `executed` says whether an engine may
    /// have begun with the request, and `spend` takes one retry from the common budget.
    pub(crate) fn may_try_again(
        &mut self,
        endpoint: Arc<Endpoint>,
        outcome: LeaseOutcome,
        executed: bool,
        spend: impl FnOnce() -> bool,
    ) -> bool {
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            return false;
        }
        match outcome {
            // Nothing was spent upstream, unless a first sending met a connection that was closed:
            // going elsewhere is free, and the quarantine keeps it from coming back.
            LeaseOutcome::Failed(
                EndpointFailure::Unreachable | EndpointFailure::NodeUnreachable,
            ) => {
                self.unreachable = self.unreachable.saturating_add(1);
                self.unreachable < MAX_UNREACHABLE && (!executed || self.may_execute_again(spend))
            }
            // The slot was not free after all. The request waits again, at its old place, for what
            // is left of its time. The time at the busy endpoint counts too: there it
            // waited in a queue that nobody here sees.
            LeaseOutcome::Refused { .. } | LeaseOutcome::PoolRefused { .. } => {
                if let Some((asked, before)) = self.asked.take() {
                    self.queued = before.saturating_add(asked.elapsed());
                }
                self.refusals = self.refusals.saturating_add(1);
                let may_wait =
                    self.refusals < self.max_refusals() && !self.patience_left().is_zero();
                // Other engines of the node may serve it, so the endpoint may be tried again; but
                // it is a try.
                may_wait && (!executed || self.may_execute_again(spend))
            }
            LeaseOutcome::Failed(EndpointFailure::Broken) | LeaseOutcome::Served => {
                self.tried.push(endpoint);
                self.may_execute_again(spend)
            }
        }
    }

    /// An engine may have begun with it. Whether another one may.
    fn may_execute_again(&mut self, spend: impl FnOnce() -> bool) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures.saturating_add(u32::from(self.was_resent)) < MAX_TRIES && spend()
    }
}

#[cfg(test)]
mod tests {
    use pool_registry_types::{HttpUrl, NodeId, PoolId};
    use routing_table::EndpointKey;

    use super::*;

    fn endpoint() -> Arc<Endpoint> {
        let key = EndpointKey {
            node: NodeId::localhost(),
            pool: PoolId::new("p").unwrap(),
            replica: None,
        };
        let target = Arc::new(HttpUrl::new("http://127.0.0.1:1").unwrap());
        Arc::new(Endpoint::new(key, 1, 1, target, None))
    }

    // spec: PATH-27
    #[test]
    fn a_refusal_after_an_execution_is_a_try() {
        let busy = LeaseOutcome::Refused { pause: None };
        let mut journey = Journey::new(
            "m".into(),
            Arc::default(),
            Priority::default(),
            None,
            Duration::from_secs(60),
        );
        assert!(
            !journey.may_try_again(endpoint(), busy, true, || false),
            "there is a budget"
        );
        let mut journey = Journey {
            failures: 0,
            ..journey
        };
        let tries = (1..).find(|_| !journey.may_try_again(endpoint(), busy, true, || true));
        assert_eq!(tries, Some(MAX_TRIES));
        assert!(journey.tried.is_empty(), "the node may have other engines");
    }

    // spec: PATH-38
    #[test]
    fn an_endless_row_of_refusals_ends() {
        let busy = LeaseOutcome::Refused { pause: None };
        for (patience, expected) in [(5, 32), (600, 2400)] {
            let mut journey = Journey::new(
                "m".into(),
                Arc::default(),
                Priority::default(),
                None,
                Duration::from_secs(patience),
            );
            let tries = (1..).find(|_| !journey.may_try_again(endpoint(), busy, false, || true));
            assert_eq!(tries, Some(expected), "with {patience} s to wait");
        }
    }
}
