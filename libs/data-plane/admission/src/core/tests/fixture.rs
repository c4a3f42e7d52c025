//! Endpoints and requests for tests, and events that return the resulting grants.

use std::sync::LazyLock;

use routing_table::RouteChange;
pub(in crate::core) use test_fixtures::TestEndpoint;

use super::super::{
    grant::{Grant, RequestEnd},
    view::EndpointStatus,
    *,
};
use crate::request::{Flow, Priority};

pub(in crate::core) const MS: Duration = Duration::from_millis(1);
pub(in crate::core) const S: Duration = Duration::from_secs(1);

/// An idle pool that serves the model `m`.
pub(in crate::core) fn idle(node: &str, slots: u32) -> TestEndpoint {
    TestEndpoint::of_pool(node, slots)
}

/// An [`idle`] pool with a later report.
pub(in crate::core) fn reported(node: &str, slots: u32, report: u64, free: u32) -> TestEndpoint {
    TestEndpoint {
        report,
        free,
        ..idle(node, slots)
    }
}

/// A replica of the pool of node `n`.
pub(in crate::core) fn replica(name: &str, slots: u32) -> TestEndpoint {
    TestEndpoint {
        replica: Some(name.to_owned()),
        ..idle("n", slots)
    }
}

pub(in crate::core) fn core(endpoints: &[TestEndpoint]) -> AdmissionCore<u32> {
    let config = AdmissionConfig {
        queue_limit: 4,
        max_wait: S,
        warm_up: Duration::ZERO,
    };
    let mut core = AdmissionCore::new(config);
    assert!(core.replaced(endpoints, Duration::ZERO).is_empty());
    core
}

impl<W> AdmissionCore<W> {
    pub(in crate::core) fn granted(&mut self) -> Vec<(W, Grant)> {
        self.take_effects().granted
    }

    pub(in crate::core) fn released(
        &mut self,
        grant: &Grant,
        ending: RequestEnd,
        now: Duration,
    ) -> Vec<(W, Grant)> {
        self.release(grant, ending, now, 0.0);
        self.granted()
    }

    pub(in crate::core) fn ticked(&mut self, now: Duration) -> Vec<(W, Grant)> {
        self.tick(now);
        self.granted()
    }

    pub(in crate::core) fn ticked_at_wakeup(&mut self) -> Vec<(W, Grant)> {
        let now = self.next_wakeup().unwrap();
        self.ticked(now)
    }

    /// The changes that lead to a table of exactly these endpoints.
    pub(in crate::core) fn changes_to(&self, endpoints: &[TestEndpoint]) -> Vec<RouteChange> {
        let is_gone = |known: &Arc<Endpoint>| {
            endpoints
                .iter()
                .all(|endpoint| endpoint.key() != *known.key())
        };
        let known = self.table.iter().map(|(_, known, _)| known);
        let removed = known
            .filter(|known| is_gone(known))
            .map(|known| RouteChange::Remove(known.clone()));
        removed
            .chain(endpoints.iter().map(TestEndpoint::set))
            .collect()
    }

    /// Changes the table to exactly these endpoints.
    pub(in crate::core) fn replaced(
        &mut self,
        endpoints: &[TestEndpoint],
        now: Duration,
    ) -> Vec<(W, Grant)> {
        let changes = self.changes_to(endpoints);
        self.apply(&changes, now);
        self.granted()
    }

    /// Whether a request could be served, computed from the slots alone.
    pub(in crate::core) fn can_be_served(
        &self,
        model: &str,
        preference: &RoutingPreference,
        tried: &[Arc<Endpoint>],
        now: Duration,
    ) -> bool {
        let mut loads = Loads::default();
        for (index, _, _) in self.table.iter() {
            loads.set(&self.table, index, self.slots_at(index).unwrap().load(now));
        }
        let tried = self.tried_indices(tried);
        placement::choose(
            &self.table,
            &loads,
            &self.placement_query(model, preference, &tried),
        )
        .is_ok()
    }

    /// A request that waits beside a free slot while the timer is not due.
    pub(in crate::core) fn waiting_beside_free_slot(&self, now: Duration) -> Option<Ticket> {
        if self.next_wakeup().is_some_and(|at| at <= now) {
            return None;
        }
        self.queues.iter().find_map(|(model, queue)| {
            let mut waiting = queue.in_order();
            let (ticket, _) = waiting.find(|(_, request)| {
                self.can_be_served(model, &request.preference, &request.tried, now)
            })?;
            Some(ticket)
        })
    }

    /// The status of the only endpoint.
    pub(in crate::core) fn only_status(&self, now: Duration) -> EndpointStatus {
        let mut endpoints = self.snapshot(now).endpoints;
        assert_eq!(endpoints.len(), 1);
        endpoints.remove(0)
    }
}

static ANYWHERE: LazyLock<Arc<RoutingPreference>> = LazyLock::new(Arc::default);

pub(in crate::core) fn anywhere() -> &'static Arc<RoutingPreference> {
    &ANYWHERE
}

pub(in crate::core) fn request(model: &str) -> AcquireRequest<'_> {
    AcquireRequest {
        model,
        priority: Priority::Interactive,
        preference: anywhere(),
        tried: &[],
        ticket: None,
        flow: Flow::default(),
    }
}

pub(in crate::core) fn granted(decision: AcquireDecision) -> Grant {
    match decision {
        AcquireDecision::Granted(grant) => grant,
        other => panic!("{other:?}"),
    }
}

pub(in crate::core) fn refused(decision: AcquireDecision) -> Refusal {
    match decision {
        AcquireDecision::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

pub(in crate::core) fn queued(decision: AcquireDecision) -> Ticket {
    match decision {
        AcquireDecision::Queued { ticket, .. } => ticket,
        other => panic!("{other:?}"),
    }
}

pub(in crate::core) fn node(grant: &Grant) -> &str {
    grant.endpoint.key().node.as_str()
}

pub(in crate::core) fn replica_of(grant: &Grant) -> &str {
    grant.endpoint.key().replica.as_ref().unwrap().as_str()
}

pub(in crate::core) fn take(core: &mut AdmissionCore<u32>, now: Duration) -> Grant {
    granted(core.acquire(&request("m"), now, || unreachable!("does not wait")))
}

pub(in crate::core) fn waiters(granted: &[(u32, Grant)]) -> Vec<u32> {
    granted.iter().map(|(waiter, _)| *waiter).collect()
}
