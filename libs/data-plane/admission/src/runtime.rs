//! A lock, a clock and wake-ups around the pure core.

use std::{
    fmt,
    future::pending,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use routing_table::{EndpointKey, RouteChange, RouteSink};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

use crate::{
    AcquireRequest, Config, Lease, ModelSummary, Outlook, Priority, Quarantine, Refusal,
    RefusalReason, RoutingPreference, Snapshot, Ticket, TrustChange,
    core::{Arrival, Core, Explanation, Grant},
};

pub(crate) type Wake = oneshot::Sender<Lease>;

type TrustHook = Box<dyn Fn(TrustChange) + Send + Sync>;

struct Shared {
    core: Mutex<Core<Wake>>,
    origin: Instant,
    config: Config,
    /// Takes the changes of breakers.
    trust: OnceLock<TrustHook>,
    /// How often trust has ended.
    quarantines: AtomicU64,
    /// Something is to happen earlier than the task that watches the clock thinks.
    clock_moved: Notify,
}

impl Shared {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// Hands out slots. Cloning is cheap and shares the state.
#[derive(Clone)]
pub struct Admission(Arc<Shared>);

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

impl Admission {
    /// Knows no endpoint yet. What is known comes as [`RouteChange`]s.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let core = Mutex::new(Core::new(config));
        Self(Arc::new(Shared {
            core,
            origin: Instant::now(),
            config,
            trust: OnceLock::new(),
            quarantines: AtomicU64::new(0),
            clock_moved: Notify::new(),
        }))
    }

    /// Ends quarantines and pauses in time. It never returns: run it as a task that lives as long
    /// as the runtime, because requests wait until the last of them is served.
    pub async fn run(self) {
        loop {
            let next = self.0.core.lock().next_wakeup();
            let timer = async {
                match next {
                    Some(at) => sleep_until(self.0.origin + at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = timer => self.decide(Core::tick),
                () = self.0.clock_moved.notified() => {}
            }
        }
    }

    /// Waits for a slot, until `deadline` or the configured longest wait, whichever comes first.
    ///
    /// Dropping the future leaves the line.
    ///
    /// # Errors
    /// When there is none in time, or never will be; see [`RefusalReason`].
    pub async fn acquire(
        &self,
        ask: AcquireRequest<'_>,
        deadline: Option<Instant>,
    ) -> Result<Lease, Refusal> {
        self.acquire_within(ask, deadline, self.0.config.max_wait)
            .await
    }

    /// As [`acquire`](Self::acquire), with a longest wait of the caller's own: a task that nobody
    /// sits and waits for has more patience than a client.
    ///
    /// # Errors
    /// When there is no slot in time, or never will be; see [`RefusalReason`].
    pub async fn acquire_within(
        &self,
        ask: AcquireRequest<'_>,
        deadline: Option<Instant>,
        patience: Duration,
    ) -> Result<Lease, Refusal> {
        let mut receiver = None;
        let placing = tracing::debug_span!(target: telemetry::REQUEST, "placement");
        let arrival = placing.in_scope(|| {
            self.decide(|core, now| {
                core.arrive(&ask, now, || {
                    let (sender, woken) = oneshot::channel();
                    receiver = Some(woken);
                    sender
                })
            })
        });
        let (ticket, known) = match arrival {
            Arrival::Granted(grant) => return Ok(self.lease(grant, false)),
            Arrival::Refused(refusal) => return Err(refusal),
            Arrival::Waiting { ticket, known } => (ticket, known),
        };
        // The core says "waiting" only after it took a sender, which it keeps until it grants a
        // slot.
        let Some(woken) = receiver else {
            return Err(LOST);
        };
        let place = Place {
            admission: self,
            model: ask.model,
            ticket,
        };
        // In a box: few requests wait, and the futures around this one are moved for all of them.
        Box::pin(self.wait(place, known, woken, deadline, patience)).await
    }

    /// Waits for a slot until `deadline`, and for `patience` at most.
    async fn wait(
        &self,
        place: Place<'_>,
        known: bool,
        mut woken: oneshot::Receiver<Lease>,
        deadline: Option<Instant>,
        patience: Duration,
    ) -> Result<Lease, Refusal> {
        let patience = Instant::now() + patience;
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        tokio::select! {
            biased;
            lease = &mut woken => return lease.map_err(|_| LOST),
            () = sleep_until(until) => {}
        }
        match self.decide(|core, now| core.expire(place.model, place.ticket, known, now)) {
            // The slot was granted at the last moment, and is on its way here.
            None => woken.await.map_err(|_| LOST),
            Some(_) if deadline.is_some_and(|deadline| deadline <= patience) => Err(Refusal {
                reason: RefusalReason::Deadline,
                retry_after: None,
            }),
            Some(refusal) => Err(refusal),
        }
    }

    /// Sets what takes the changes of breakers. It runs on the way of a request, so it must be
    /// brief. Only the first call takes effect.
    pub fn on_trust_change(&self, tell: impl Fn(TrustChange) + Send + Sync + 'static) {
        let _ = self.0.trust.set(Box::new(tell));
    }

    /// How often an endpoint has lost its trust since the start.
    #[must_use]
    pub fn quarantines(&self) -> u64 {
        self.0.quarantines.load(Ordering::Relaxed)
    }

    /// The longest a request waits when its caller says nothing else.
    #[must_use]
    pub fn max_wait(&self) -> Duration {
        self.0.config.max_wait
    }

    /// How many requests stand before the holder of `ticket` in the line for `model`.
    #[must_use]
    pub fn ahead_of(&self, model: &str, ticket: Ticket) -> usize {
        self.0.core.lock().ahead_of(model, ticket)
    }

    /// What a request for `model` that came now would have before it.
    #[must_use]
    pub fn outlook(&self, model: &str, priority: Priority) -> Outlook {
        self.decide(|core, now| core.outlook(model, priority, now))
    }

    /// How many models and endpoints there are. Cheap, however many.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let core = self.0.core.lock();
        (core.table().models().len(), core.table().len())
    }

    /// All slots and lines at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.0.core.lock().snapshot(self.0.now())
    }

    /// When a request for `model` that is refused now is worth another try.
    #[must_use]
    pub fn retry_after(&self, model: &str) -> Duration {
        self.0.core.lock().time_to_a_slot(model, self.0.now())
    }

    /// What would happen to a request now, and why; nothing changes by asking.
    #[must_use]
    pub fn explain(&self, model: &str, wish: &RoutingPreference) -> Explanation {
        self.decide(|core, now| core.explain(model, wish, now))
    }

    /// The quarantine of an endpoint, if it is in one.
    #[must_use]
    pub fn quarantine_of(&self, endpoint: &EndpointKey) -> Option<Quarantine> {
        self.0.core.lock().quarantine_of(endpoint, self.0.now())
    }

    /// How many requests of ours hold a slot at an endpoint at this moment, also at one that takes
    /// no new ones; `None` where no endpoint of that name is known.
    #[must_use]
    pub fn in_flight_at(&self, endpoint: &EndpointKey) -> Option<u32> {
        self.0.core.lock().in_flight_at(endpoint)
    }

    /// Every model that an endpoint names, in no order. It looks at all endpoints.
    #[must_use]
    pub fn models(&self) -> Vec<ModelSummary> {
        self.0.core.lock().models()
    }

    /// Whether an endpoint names `model` as one it serves.
    #[must_use]
    pub fn names(&self, model: &str) -> bool {
        self.0.core.lock().table().names(model)
    }

    /// Whether an endpoint names `model` and takes requests for it, as far as the control plane
    /// knows.
    #[must_use]
    pub fn serves(&self, model: &str) -> bool {
        self.0.core.lock().table().serves(model)
    }

    /// The one model that there is, when there is exactly one: what a request without `model` can
    /// only mean.
    #[must_use]
    pub fn only_model(&self) -> Option<String> {
        self.0.core.lock().table().only_model().map(str::to_owned)
    }

    fn lease(&self, grant: Grant, has_waited: bool) -> Lease {
        Lease::new(self.clone(), grant, has_waited)
    }

    /// The only way to change the state. Then, without the lock, wakes those who got a slot by it,
    /// and the task that watches the clock when it has to look earlier than it thinks.
    pub(crate) fn decide<T>(&self, event: impl FnOnce(&mut Core<Wake>, Duration) -> T) -> T {
        let mut core = self.0.core.lock();
        let before = core.next_wakeup();
        let decided = event(&mut core, self.0.now());
        let after = core.next_wakeup();
        let effects = core.take_effects();
        drop(core);
        for change in effects.trust_changes {
            self.0
                .quarantines
                .fetch_add(u64::from(change.lost_by.is_some()), Ordering::Relaxed);
            if let Some(tell) = self.0.trust.get() {
                tell(change);
            }
        }
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.0.clock_moved.notify_one();
        }
        for (wake, grant) in effects.granted {
            // Who has just left drops the lease, and the slot goes to the next.
            drop(wake.send(self.lease(grant, true)));
        }
        decided
    }
}

impl RouteSink for Admission {
    fn apply(&self, changes: &[RouteChange]) {
        self.decide(|core, now| core.apply(changes, now));
    }
}

/// What ends a request whose sender in the core is gone.
const LOST: Refusal = Refusal {
    reason: RefusalReason::NoneRoutable,
    retry_after: None,
};

/// A place in a line; leaves it when dropped.
struct Place<'a> {
    admission: &'a Admission,
    model: &'a str,
    ticket: Ticket,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.admission
            .decide(|core, _| core.leave(self.model, self.ticket));
    }
}
