//! Endpoints for tests, and events together with the grants that follow from them.

use std::sync::LazyLock;

use pool_registry_types::{HttpUrl, NodeId, PoolId};
use routing_table::{Report, RouteChange, State};

use super::*;
use crate::Priority;

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const S: Duration = Duration::from_secs(1);

/// An endpoint as the control plane knows it.
#[derive(Debug, Clone)]
pub(super) struct Fake {
    pub(super) node: String,
    pub(super) replica: Option<String>,
    pub(super) incarnation: u64,
    pub(super) generation: u64,
    pub(super) models: Option<Vec<String>>,
    pub(super) state: State,
    pub(super) slots: u32,
    pub(super) free: u32,
    /// The number of its report.
    pub(super) report: u64,
}

impl Fake {
    pub(super) fn key(&self) -> EndpointKey {
        EndpointKey {
            node: NodeId::new(&self.node).unwrap(),
            pool: PoolId::new("p").unwrap(),
            replica: self
                .replica
                .as_ref()
                .map(|replica| replica.parse().unwrap()),
        }
    }

    pub(super) fn endpoint(&self) -> Arc<Endpoint> {
        Arc::new(Endpoint::new(
            self.key(),
            self.incarnation,
            self.generation,
            Arc::new(HttpUrl::new("http://localhost:1").unwrap()),
            self.models.clone().map(Into::into),
        ))
    }

    pub(super) fn set(&self) -> RouteChange {
        let report = Report {
            number: self.report,
            state: self.state,
            slots_total: self.slots,
            slots_free: self.free,
            vram_free_bytes: 0,
        };
        RouteChange::Set(self.endpoint(), report)
    }
}

/// A pool of a node that serves `m`, with nothing to do.
pub(super) fn idle(node: &str, slots: u32) -> Fake {
    Fake {
        node: node.to_owned(),
        replica: None,
        incarnation: 1,
        generation: 0,
        models: Some(vec!["m".to_owned()]),
        state: State::Ready,
        slots,
        free: slots,
        report: 1,
    }
}

/// As [`idle`], with a later report.
pub(super) fn reported(node: &str, slots: u32, report: u64, free: u32) -> Fake {
    Fake {
        report,
        free,
        ..idle(node, slots)
    }
}

/// A replica of the pool of node `n`.
pub(super) fn replica(name: &str, slots: u32) -> Fake {
    Fake {
        replica: Some(name.to_owned()),
        ..idle("n", slots)
    }
}

pub(super) fn core(endpoints: &[Fake]) -> Core<u32> {
    let config = Config {
        queue_limit: 4,
        max_wait: S,
        warm_up: Duration::ZERO,
    };
    let mut core = Core::new(config);
    assert!(core.replaced(endpoints, Duration::ZERO).is_empty());
    core
}

impl<W> Core<W> {
    pub(super) fn granted(&mut self) -> Vec<(W, Grant)> {
        self.take_effects().granted
    }

    pub(super) fn released(
        &mut self,
        grant: &Grant,
        ending: Ending,
        now: Duration,
    ) -> Vec<(W, Grant)> {
        self.release(grant, ending, now, 0.0);
        self.granted()
    }

    pub(super) fn ticked(&mut self, now: Duration) -> Vec<(W, Grant)> {
        self.tick(now);
        self.granted()
    }

    pub(super) fn ticked_at_wakeup(&mut self) -> Vec<(W, Grant)> {
        let now = self.next_wakeup().unwrap();
        self.ticked(now)
    }

    /// The changes that lead to a table of exactly these endpoints.
    pub(super) fn changes_to(&self, endpoints: &[Fake]) -> Vec<RouteChange> {
        let is_gone = |known: &Arc<Endpoint>| {
            endpoints
                .iter()
                .all(|endpoint| endpoint.key() != *known.key())
        };
        let known = self.table.iter().map(|(_, known, _)| known);
        let removed = known
            .filter(|known| is_gone(known))
            .map(|known| RouteChange::Remove(known.clone()));
        removed.chain(endpoints.iter().map(Fake::set)).collect()
    }

    /// The table is exactly these endpoints.
    pub(super) fn replaced(&mut self, endpoints: &[Fake], now: Duration) -> Vec<(W, Grant)> {
        let changes = self.changes_to(endpoints);
        self.apply(&changes, now);
        self.granted()
    }

    /// Whether a request could be served, worked out anew from the slots.
    pub(super) fn has_place(
        &self,
        model: &str,
        wish: &RoutingPreference,
        tried: &[Arc<Endpoint>],
        now: Duration,
    ) -> bool {
        let mut loads = Loads::default();
        for (index, _, _) in self.table.iter() {
            loads.set(&self.table, index, self.slot(index).unwrap().load(now));
        }
        let tried = self.tried_indices(tried);
        placement::choose(&self.table, &loads, &self.question(model, wish, &tried)).is_ok()
    }

    /// A request that waits beside a free slot while the timer is not due.
    pub(super) fn forgotten(&self, now: Duration) -> Option<Ticket> {
        if self.next_wakeup().is_some_and(|at| at <= now) {
            return None;
        }
        self.lines.iter().find_map(|(model, line)| {
            let mut waiting = line.in_order();
            let (ticket, _) = waiting
                .find(|(_, waiter)| self.has_place(model, &waiter.wish, &waiter.tried, now))?;
            Some(ticket)
        })
    }

    /// The one endpoint.
    pub(super) fn only_status(&self, now: Duration) -> EndpointStatus {
        let mut endpoints = self.snapshot(now).endpoints;
        assert_eq!(endpoints.len(), 1);
        endpoints.remove(0)
    }
}

static ANYWHERE: LazyLock<Arc<RoutingPreference>> = LazyLock::new(Arc::default);

pub(super) fn anywhere() -> &'static Arc<RoutingPreference> {
    &ANYWHERE
}

pub(super) fn ask(model: &str) -> AcquireRequest<'_> {
    AcquireRequest {
        model,
        priority: Priority::Interactive,
        wish: anywhere(),
        tried: &[],
        ticket: None,
    }
}

pub(super) fn granted(arrival: Arrival) -> Grant {
    match arrival {
        Arrival::Granted(grant) => grant,
        other => panic!("{other:?}"),
    }
}

pub(super) fn refused(arrival: Arrival) -> Refusal {
    match arrival {
        Arrival::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

pub(super) fn waits(arrival: Arrival) -> Ticket {
    match arrival {
        Arrival::Waiting { ticket, .. } => ticket,
        other => panic!("{other:?}"),
    }
}

pub(super) fn node(grant: &Grant) -> &str {
    grant.endpoint.key().node.as_str()
}

pub(super) fn replica_of(grant: &Grant) -> &str {
    grant.endpoint.key().replica.as_ref().unwrap().as_str()
}

pub(super) fn take(core: &mut Core<u32>, now: Duration) -> Grant {
    granted(core.arrive(&ask("m"), now, || unreachable!("does not wait")))
}

pub(super) fn waiters(granted: &[(u32, Grant)]) -> Vec<u32> {
    granted.iter().map(|(waiter, _)| *waiter).collect()
}
