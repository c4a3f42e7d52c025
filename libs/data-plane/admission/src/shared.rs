//! A lock, a clock and wake-ups around the pure core, and the lease on a slot.
//!
//! Both are here because each needs the other: a decision may hand a lease to a waiting request,
//! and dropping a lease is a decision.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use pool_registry_types::ReplicaId;
use routing_table::Endpoint;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::{
    circuit_breaker::{BreakerChange, EndpointFailure},
    config::AdmissionConfig,
    core::{
        AdmissionCore,
        grant::{Grant, RequestEnd},
    },
    request::{Refusal, Ticket},
};

/// Wakes a waiting request with its lease, or because it made room for another one.
pub(crate) type Waker = oneshot::Sender<Result<Lease, Refusal>>;

type BreakerHook = Box<dyn Fn(BreakerChange) + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) core: Mutex<AdmissionCore<Waker>>,
    pub(crate) origin: Instant,
    pub(crate) config: AdmissionConfig,
    pub(crate) breaker_hook: OnceLock<BreakerHook>,
    /// A pool has set a queue timeout. While none has, requests need not look for one.
    pub(crate) has_queue_timeouts: AtomicBool,
    /// How often a breaker has opened.
    pub(crate) breakers_opened: AtomicU64,
    /// How many waiting requests made room for one of another key.
    pub(crate) displaced: AtomicU64,
    /// The next deadline is earlier than the timer task expects.
    pub(crate) deadline_moved: Notify,
}

impl Shared {
    pub(crate) fn new(config: AdmissionConfig) -> Self {
        Self {
            core: Mutex::new(AdmissionCore::new(config)),
            origin: Instant::now(),
            config,
            breaker_hook: OnceLock::new(),
            has_queue_timeouts: AtomicBool::new(false),
            breakers_opened: AtomicU64::new(0),
            displaced: AtomicU64::new(0),
            deadline_moved: Notify::new(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// From when on a model that no endpoint names is refused.
    pub(crate) fn warm_up_end(&self) -> Instant {
        self.origin + self.config.warm_up
    }

    /// Makes a decision. This is the only way to change the state.
    ///
    /// After releasing the lock it reports breaker changes, wakes the requests that got a slot or
    /// made room, and wakes the timer task if the next deadline is earlier than before.
    pub(crate) fn decide<T>(
        self: &Arc<Self>,
        event: impl FnOnce(&mut AdmissionCore<Waker>, Duration) -> T,
    ) -> T {
        let mut core = self.core.lock();
        let before = core.next_wakeup();
        let decision = event(&mut core, self.now());
        let after = core.next_wakeup();
        let effects = core.take_effects();
        drop(core);
        for change in effects.breaker_changes {
            let opened = u64::from(change.opened_by.is_some());
            self.breakers_opened.fetch_add(opened, Ordering::Relaxed);
            if let Some(hook) = self.breaker_hook.get() {
                hook(change);
            }
        }
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.deadline_moved.notify_one();
        }
        for (waker, grant) in effects.granted {
            // If the request has left, the lease is dropped and the slot goes to the next one.
            drop(waker.send(Ok(Lease::new(Arc::clone(self), grant, true))));
        }
        for (waker, refusal) in effects.displaced {
            self.displaced.fetch_add(1, Ordering::Relaxed);
            // The request may have left.
            drop(waker.send(Err(refusal)));
        }
        decision
    }
}

/// How a request on an endpoint ended, as evidence about the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// The endpoint responded. A 4xx is a response.
    Served,
    /// The endpoint failed.
    Failed(EndpointFailure),
    /// The endpoint was busy or accepts no new requests. This is not a failure; the endpoint counts
    /// as full for a moment.
    Refused {
        /// The pause that it asked for.
        pause: Option<Duration>,
    },
    /// The endpoint's node refused the request for the whole pool, because no replica has a free
    /// slot or accepts new requests. This is not a failure; all endpoints of the pool that serve
    /// one of the same models count as full for a moment.
    PoolRefused {
        /// The pause that the node asked for.
        pause: Option<Duration>,
    },
}

/// A slot on an endpoint. Dropping it gives the slot back.
///
/// [`Lease::ended`] sets how the request ended, before the drop.
pub struct Lease {
    shared: Arc<Shared>,
    grant: Grant,
    has_waited: bool,
    outcome: OnceLock<LeaseOutcome>,
}

impl Lease {
    pub(crate) fn new(shared: Arc<Shared>, grant: Grant, has_waited: bool) -> Self {
        Self {
            shared,
            grant,
            has_waited,
            outcome: OnceLock::new(),
        }
    }

    /// The request's endpoint. It is the replica that the node used, once
    /// [`answered`](Self::answered) or [`used`](Self::used) has named it.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.grant.endpoint
    }

    /// The request's position in the order of arrival. A retry passes it on.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.grant.ticket
    }

    /// Whether the request waited in the queue. Most requests find a free slot at once, and their
    /// callers need not read the clock.
    #[must_use]
    pub fn has_waited(&self) -> bool {
        self.has_waited
    }

    /// Whether the endpoint was scaled to zero when it was chosen, so that the request makes its
    /// node start the engine.
    #[must_use]
    pub fn starts_engine(&self) -> bool {
        self.grant.starts_engine
    }

    /// Sets how the request ended. Only the first call takes effect. Without a call there is no
    /// evidence: the client left early, or the request was never sent.
    pub fn ended(&self, outcome: LeaseOutcome) {
        let _ = self.outcome.set(outcome);
    }

    /// Moves the lease to the replica that the node used, when the request's result is not known
    /// yet. See [`answered`](Self::answered).
    pub fn used(&mut self, replica: Option<&ReplicaId>) {
        let grant = &mut self.grant;
        self.shared
            .decide(|core, now| core.reassign(grant, replica, now));
    }

    /// The response has begun.
    ///
    /// `replica` is the replica that the node used, if the node names it. `slots` are the replica's
    /// `(free, total)` slots, or those of the pool if the node does not report its replicas.
    ///
    /// When the node used another replica than the lease's endpoint, the lease moves to that
    /// replica, and so do the request's conversation, its prompt prefix and all further evidence.
    pub fn answered(&mut self, replica: Option<&ReplicaId>, slots: Option<(u32, u32)>) {
        let grant = &mut self.grant;
        self.shared
            .decide(|core, now| core.response_started(grant, replica, slots, now));
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("endpoint", self.endpoint().key())
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let end = match self.outcome.get() {
            Some(LeaseOutcome::Served) => RequestEnd::Served,
            Some(LeaseOutcome::Failed(failure)) => RequestEnd::Failed(*failure),
            Some(LeaseOutcome::Refused { pause }) => RequestEnd::Refused { pause: *pause },
            Some(LeaseOutcome::PoolRefused { pause }) => RequestEnd::PoolRefused { pause: *pause },
            None => RequestEnd::Abandoned,
        };
        let jitter = fastrand::f64() * 2.0 - 1.0;
        self.shared
            .decide(|core, now| core.release(&self.grant, end, now, jitter));
    }
}
