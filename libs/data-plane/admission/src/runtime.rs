//! A lock, a clock and wake-ups around the pure core.

use std::{
    fmt,
    future::pending,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use routing_table::{Endpoint, EndpointKey, Hop, Labels, RoutingTable};
use tokio::{
    sync::{Notify, oneshot, watch},
    time::{Instant, sleep_until},
};

use crate::{
    Ask, Config, Failure, Outlook, Priority, Quarantine, Refusal, RefusalReason, Snapshot, Ticket,
    TrustChange, Wish,
    core::{Arrival, Core, Ending, Explanation, Grant},
};

type Wake = oneshot::Sender<Lease>;

/// A request at an engine, as whoever looks after engines sees it. Dropping it says that the engine is done with the
/// request, or never had it.
pub trait Visit: Send + Sync {
    /// The engine's answer has begun.
    fn answered(&self);

    /// Nobody waits for the request any more, and the engine may go on with it. Dropping `slot` gives the slot back.
    fn given_up(self: Box<Self>, slot: AbandonedSlot);
}

type Visits = Box<dyn Fn(&Endpoint) -> Option<Box<dyn Visit>> + Send + Sync>;

type TrustHook = Box<dyn Fn(TrustChange) + Send + Sync>;

struct Shared {
    core: Mutex<Core<Wake>>,
    origin: Instant,
    config: Config,
    /// Who looks after engines that may go on after a request was given up.
    visits: OnceLock<Visits>,
    /// Who is told when trust in an endpoint ends or is back.
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
        f.debug_tuple("Admission").field(&self.snapshot()).finish()
    }
}

impl Admission {
    /// Knows no endpoint until [`Admission::run`] brings a table.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let core = Mutex::new(Core::new(config));
        Self(Arc::new(Shared {
            core,
            origin: Instant::now(),
            config,
            visits: OnceLock::new(),
            trust: OnceLock::new(),
            quarantines: AtomicU64::new(0),
            clock_moved: Notify::new(),
        }))
    }

    /// Follows the routing table and ends quarantines in time, until the sender of `tables` is gone.
    pub async fn run(self, mut tables: watch::Receiver<Arc<RoutingTable>>) {
        let table = tables.borrow_and_update().clone();
        self.decide(|core, now| core.replace_table(table, now));
        loop {
            let next = self.0.core.lock().next_wakeup();
            let timer = async {
                match next {
                    Some(at) => sleep_until(self.0.origin + at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                changed = tables.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let table = tables.borrow_and_update().clone();
                    self.decide(|core, now| core.replace_table(table, now));
                }
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
    pub async fn acquire(&self, ask: Ask<'_>, deadline: Option<Instant>) -> Result<Lease, Refusal> {
        self.acquire_within(ask, deadline, self.0.config.max_wait).await
    }

    /// As [`acquire`](Self::acquire), with a longest wait of the caller's own: a task that nobody sits and waits
    /// for has more patience than a client.
    ///
    /// # Errors
    /// When there is no slot in time, or never will be; see [`RefusalReason`].
    pub async fn acquire_within(
        &self,
        ask: Ask<'_>,
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
        // The core says "waiting" only after it took a sender, which it keeps until it grants a slot.
        let lost = Refusal {
            reason: RefusalReason::NoneRoutable,
            retry_after: None,
        };
        let Some(mut woken) = receiver else {
            return Err(lost);
        };
        let _place = Place {
            admission: self,
            model: ask.model,
            ticket,
        };
        let patience = Instant::now() + patience;
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        tokio::select! {
            biased;
            lease = &mut woken => return lease.map_err(|_| lost),
            () = sleep_until(until) => {}
        }
        match self.decide(|core, now| core.expire(ask.model, ticket, known, now)) {
            // The slot was granted at the last moment, and is on its way here.
            None => woken.await.map_err(|_| lost),
            Some(_) if deadline.is_some_and(|deadline| deadline <= patience) => Err(Refusal {
                reason: RefusalReason::Deadline,
                retry_after: None,
            }),
            Some(refusal) => Err(refusal),
        }
    }

    /// Says who looks after engines ([`Hop::Engine`]): they may go on with a request that was given up before its end.
    /// It is asked for each request that goes to one. The first word counts.
    pub fn set_visits(&self, visits: impl Fn(&Endpoint) -> Option<Box<dyn Visit>> + Send + Sync + 'static) {
        let _ = self.0.visits.set(Box::new(visits));
    }

    /// Says who is told when trust in an endpoint ends or is back: briefly, it happens on the way of a request. The
    /// first word counts.
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
    pub fn explain(&self, model: &str, wish: &Wish) -> Explanation {
        self.decide(|core, now| core.explain(model, wish, now))
    }

    /// The quarantine of an endpoint, if it is in one.
    #[must_use]
    pub fn quarantine_of(&self, endpoint: &EndpointKey) -> Option<Quarantine> {
        self.0.core.lock().quarantine_of(endpoint, self.0.now())
    }

    /// How many requests of ours hold a slot at an endpoint at this moment, also at one that takes no new ones; `None`
    /// where no endpoint of that name is known.
    #[must_use]
    pub fn in_flight_at(&self, endpoint: &EndpointKey) -> Option<u32> {
        self.0.core.lock().in_flight_at(endpoint)
    }

    fn lease(&self, grant: Grant, has_waited: bool) -> Lease {
        let engine = grant.endpoint().filter(|endpoint| endpoint.hop == Hop::Engine);
        let visits = self.0.visits.get();
        Lease {
            visit: engine.zip(visits).and_then(|(engine, visits)| visits(engine)),
            admission: self.clone(),
            grant,
            has_waited,
            outcome: OnceLock::new(),
            is_done: AtomicBool::new(false),
        }
    }

    /// The only way to change the state. Then, without the lock, wakes those who got a slot by it, and the task that
    /// watches the clock when it has to look earlier than it thinks.
    fn decide<T>(&self, event: impl FnOnce(&mut Core<Wake>, Duration) -> T) -> T {
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

/// How a request went, as far as the endpoint is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered; a 4xx is an answer.
    Served,
    /// It failed.
    Failed(Failure),
    /// It had no slot after all, or takes no new work. Not a failure, but it is left alone for a moment.
    Refused {
        /// For how long, where it said so.
        pause: Option<Duration>,
    },
}

/// A slot on an endpoint. Dropping it gives the slot back; [`Lease::ended`] says before how it went.
pub struct Lease {
    admission: Admission,
    grant: Grant,
    has_waited: bool,
    outcome: OnceLock<Outcome>,
    /// The engine is surely done with the request, whatever the outcome.
    is_done: AtomicBool,
    /// `None` when nobody looks after it.
    visit: Option<Box<dyn Visit>>,
}

impl Lease {
    /// Where the request goes; `None` cannot happen for a lease that was handed out.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.grant.endpoint()
    }

    /// The endpoint's name as the values of headers; `None` cannot happen for a lease that was handed out.
    #[must_use]
    pub fn labels(&self) -> Option<&Labels> {
        self.grant.table.labels().get(self.grant.index as usize)
    }

    /// The request's place in the order of arrival, to be kept when it is tried again.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.grant.ticket
    }

    /// Whether it stood in line for the slot. Most requests find one free, and need no clock to know how long they waited.
    #[must_use]
    pub fn has_waited(&self) -> bool {
        self.has_waited
    }

    /// Says how the request went; the first word counts. Unsaid means that the client left before anything
    /// was learnt.
    ///
    /// With [`Outcome::Served`] it also says that the answer was read to its end, whatever was said before.
    pub fn ended(&self, outcome: Outcome) {
        // All but a broken answer mean that there is nothing left to do for the engine.
        if outcome != Outcome::Failed(Failure::Broken) {
            self.is_done.store(true, Ordering::Relaxed);
        }
        let _ = self.outcome.set(outcome);
    }

    /// The request was never sent: its endpoint has nothing to do for it, and nothing was learnt of it.
    pub fn not_sent(&self) {
        self.is_done.store(true, Ordering::Relaxed);
    }

    /// The endpoint's answer has begun; `load` is its `(free, total)` slots where it told them.
    pub fn answered(&self, load: Option<(u32, u32)>) {
        if let Some(visit) = &self.visit {
            visit.answered();
        }
        self.admission
            .decide(|core, now| core.answered(&self.grant, load, now));
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.endpoint().map(|endpoint| &endpoint.key);
        f.debug_struct("Lease")
            .field("endpoint", &key)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let ending = match self.outcome.get() {
            Some(Outcome::Served) => Ending::Served,
            Some(Outcome::Failed(failure)) => Ending::Failed(*failure),
            Some(Outcome::Refused { pause }) => Ending::Refused { pause: *pause },
            None => Ending::Untold,
        };
        let jitter = fastrand::f64() * 2.0 - 1.0;
        match self.visit.take() {
            Some(visit) if !*self.is_done.get_mut() => {
                // What the request has shown counts now: the engine may keep its slot for minutes.
                self.admission
                    .decide(|core, now| core.abandon(&self.grant, ending, now, jitter));
                visit.given_up(AbandonedSlot {
                    admission: self.admission.clone(),
                    grant: self.grant.clone(),
                });
            }
            _ => self
                .admission
                .decide(|core, now| core.release(&self.grant, ending, now, jitter)),
        }
    }
}

/// The slot of a request that nobody waits for any more. Dropping it gives the slot back.
pub struct AbandonedSlot {
    admission: Admission,
    grant: Grant,
}

impl fmt::Debug for AbandonedSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.grant.endpoint().map(|endpoint| &endpoint.key);
        f.debug_struct("AbandonedSlot")
            .field("endpoint", &key)
            .finish_non_exhaustive()
    }
}

impl Drop for AbandonedSlot {
    fn drop(&mut self) {
        self.admission.decide(|core, now| core.reclaim(&self.grant, now));
    }
}
