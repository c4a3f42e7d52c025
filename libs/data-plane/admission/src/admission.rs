//! The handle with which callers acquire slots, apply route changes and read the state.

use std::{
    fmt,
    future::pending,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use routing_table::{Endpoint, EndpointKey, RouteChange, RouteSink};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use crate::{
    circuit_breaker::{BreakerChange, OpenBreaker},
    config::AdmissionConfig,
    core::{
        AcquireDecision, AdmissionCore,
        view::{Explanation, ModelSummary, Snapshot},
    },
    request::{
        AcquireRequest, Priority, Refusal, RefusalReason, RoutingPreference, Ticket, WaitEstimate,
    },
    shared::{Lease, Shared},
};

/// Grants slots. Clones are cheap and share the state.
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
    /// Starts without endpoints. [`RouteChange`]s add them.
    #[must_use]
    pub fn new(config: AdmissionConfig) -> Self {
        Self(Arc::new(Shared::new(config)))
    }

    /// Ends backoffs and pauses in time. It never returns. Run it as a task that lives as long as
    /// the runtime, because requests wait until the last one is served.
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
                () = timer => self.0.decide(AdmissionCore::tick),
                () = self.0.deadline_moved.notified() => {}
            }
        }
    }

    /// Waits for a slot until `deadline` or for the configured longest wait, whichever is earlier.
    ///
    /// Dropping the future leaves the queue.
    ///
    /// # Errors
    /// When no slot is available in time, or none ever will be; see [`RefusalReason`].
    pub async fn acquire(
        &self,
        request: AcquireRequest<'_>,
        deadline: Option<Instant>,
    ) -> Result<Lease, Refusal> {
        self.acquire_within(request, deadline, self.0.config.max_wait)
            .await
    }

    /// Like [`acquire`](Self::acquire), with the caller's own longest wait. A background task may
    /// wait longer than a client.
    ///
    /// # Errors
    /// When no slot is available in time, or none ever will be; see [`RefusalReason`].
    pub async fn acquire_within(
        &self,
        request: AcquireRequest<'_>,
        deadline: Option<Instant>,
        queue_timeout: Duration,
    ) -> Result<Lease, Refusal> {
        let mut receiver = None;
        let span = tracing::debug_span!(target: telemetry::REQUEST, "placement");
        let decision = span.in_scope(|| {
            self.0.decide(|core, now| {
                core.acquire(&request, now, || {
                    let (sender, woken) = oneshot::channel();
                    receiver = Some(woken);
                    sender
                })
            })
        });
        let (ticket, is_known) = match decision {
            AcquireDecision::Granted(grant) => {
                return Ok(Lease::new(Arc::clone(&self.0), grant, false));
            }
            AcquireDecision::Refused(refusal) => return Err(refusal),
            AcquireDecision::Queued {
                ticket,
                is_known_model,
            } => (ticket, is_known_model),
        };
        let Some(woken) = receiver else {
            return Err(LOST);
        };
        let position = QueuePosition {
            shared: &self.0,
            model: request.model,
            ticket,
            is_known,
        };
        // Boxed: few requests wait, but the futures around this one are moved for every request.
        Box::pin(position.wait(woken, deadline, queue_timeout)).await
    }

    /// Sets the hook for changes of breakers. It runs on the request path, so it must be brief.
    /// Only the first call takes effect.
    pub fn on_breaker_change(&self, hook: impl Fn(BreakerChange) + Send + Sync + 'static) {
        let _ = self.0.breaker_hook.set(Box::new(hook));
    }

    /// How often a breaker has opened since the start.
    #[must_use]
    pub fn breakers_opened(&self) -> u64 {
        self.0.breakers_opened.load(Ordering::Relaxed)
    }

    /// How many waiting requests made room for one of another key since the start.
    #[must_use]
    pub fn displaced(&self) -> u64 {
        self.0.displaced.load(Ordering::Relaxed)
    }

    /// The longest wait of a request for `model`: the configured one, or the longest queue timeout
    /// of the pools that may serve the model if that is longer.
    #[must_use]
    pub fn queue_timeout(&self, model: &str) -> Duration {
        let configured = self.0.config.max_wait;
        if !self.0.has_queue_timeouts.load(Ordering::Relaxed) {
            return configured;
        }
        let of_pools = self.0.core.lock().table().queue_timeout(model);
        of_pools.map_or(configured, |of_pools| of_pools.max(configured))
    }

    /// When to try again after no endpoint could serve a request.
    #[must_use]
    pub fn retry_after_outage(&self) -> Duration {
        self.0.config.retry_after_outage()
    }

    /// The number of requests before the holder of `ticket` in the queue for `model`.
    #[must_use]
    pub fn ahead_of(&self, model: &str, ticket: Ticket) -> usize {
        self.0.core.lock().ahead_of(model, ticket)
    }

    /// How long a new request for `model` would wait.
    #[must_use]
    pub fn estimate_wait(&self, model: &str, priority: Priority) -> WaitEstimate {
        (self.0).decide(|core, now| core.estimate_wait(model, priority, now))
    }

    /// The numbers of models and endpoints. The call is cheap for every fleet size.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let core = self.0.core.lock();
        (core.table().models().len(), core.table().len())
    }

    /// All slots and queues at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.0.core.lock().snapshot(self.0.now())
    }

    /// When a retry of a request for `model` that is refused now makes sense.
    #[must_use]
    pub fn retry_after(&self, model: &str) -> Duration {
        self.0.core.lock().retry_after(model, self.0.now())
    }

    /// What would happen to a request now, and why. It changes nothing.
    #[must_use]
    pub fn explain(&self, model: &str, preference: &RoutingPreference) -> Explanation {
        (self.0).decide(|core, now| core.explain(model, preference, now))
    }

    /// The breaker of an endpoint, unless it is closed.
    #[must_use]
    pub fn open_breaker_of(&self, endpoint: &EndpointKey) -> Option<OpenBreaker> {
        (self.0.core.lock()).open_breaker_of(endpoint, self.0.now())
    }

    /// The number of own requests on an endpoint at this moment, even if it accepts no new ones;
    /// `None` if the endpoint is unknown.
    #[must_use]
    pub fn in_flight_at(&self, endpoint: &EndpointKey) -> Option<u32> {
        self.0.core.lock().in_flight_at(endpoint)
    }

    /// The free slots of an endpoint at this moment; `None` if the endpoint is unknown.
    #[must_use]
    pub fn slots_free_at(&self, endpoint: &EndpointKey) -> Option<u32> {
        (self.0.core.lock()).slots_free_at(endpoint, self.0.now())
    }

    /// The other endpoints on the node of `endpoint` that serve `model`.
    #[must_use]
    pub fn others_on_node(&self, model: &str, endpoint: &Endpoint) -> Vec<Arc<Endpoint>> {
        let core = self.0.core.lock();
        let table = core.table();
        let candidates = table.candidates(model).iter();
        candidates
            .filter_map(|&index| table.endpoint(index))
            .filter(|other| {
                other.key().node == endpoint.key().node && other.key() != endpoint.key()
            })
            .cloned()
            .collect()
    }

    /// Every model that an endpoint names, in no particular order. It visits all endpoints.
    #[must_use]
    pub fn models(&self) -> Vec<ModelSummary> {
        self.0.core.lock().models()
    }

    /// One model with its slots; `None` when no endpoint that accepts requests names it.
    #[must_use]
    pub fn model(&self, model: &str) -> Option<ModelSummary> {
        self.0.core.lock().model(model)
    }

    /// Whether an endpoint of `model` accepts requests and is known to take `least` tokens.
    #[must_use]
    pub fn has_context(&self, model: &str, least: u32) -> bool {
        self.0.core.lock().has_context(model, least)
    }

    /// Whether an endpoint names `model`.
    #[must_use]
    pub fn names(&self, model: &str) -> bool {
        self.0.core.lock().table().names(model)
    }

    /// Whether an endpoint names `model` and accepts requests, as far as the control plane knows.
    #[must_use]
    pub fn serves(&self, model: &str) -> bool {
        self.0.core.lock().table().serves(model)
    }

    /// The only model, if there is exactly one. A request without `model` then means this one.
    #[must_use]
    pub fn only_model(&self) -> Option<String> {
        self.0.core.lock().table().only_model().map(str::to_owned)
    }
}

impl RouteSink for Admission {
    fn apply(&self, changes: &[RouteChange]) {
        // Before the change: a request that sees the endpoint finds its queue timeout.
        let sets_timeout = |change: &RouteChange| match change {
            RouteChange::Set(endpoint, _) => endpoint.queue_timeout().is_some(),
            RouteChange::Remove(_) => false,
        };
        if changes.iter().any(sets_timeout) {
            self.0.has_queue_timeouts.store(true, Ordering::Relaxed);
        }
        self.0.decide(|core, now| core.apply(changes, now));
    }
}

/// The refusal of a request whose waker is lost. A queued request has a waker in the core until it
/// gets a slot, so this does not occur.
const LOST: Refusal = Refusal {
    reason: RefusalReason::NoneRoutable,
    retry_after: None,
};

/// A position in a queue. Dropping it leaves the queue.
struct QueuePosition<'a> {
    shared: &'a Arc<Shared>,
    model: &'a str,
    ticket: Ticket,
    /// The model was known when the request came.
    is_known: bool,
}

impl QueuePosition<'_> {
    /// Waits for a slot until `deadline`, and at most for `queue_timeout`.
    async fn wait(
        self,
        mut woken: oneshot::Receiver<Result<Lease, Refusal>>,
        deadline: Option<Instant>,
        queue_timeout: Duration,
    ) -> Result<Lease, Refusal> {
        let wait_end = Instant::now() + queue_timeout;
        let until = deadline.map_or(wait_end, |deadline| deadline.min(wait_end));
        // A model that no node has named may still come while nodes register, and not later.
        let first = if self.is_known {
            until
        } else {
            self.shared.warm_up_end().min(until)
        };
        tokio::select! {
            biased;
            lease = &mut woken => return lease.unwrap_or(Err(LOST)),
            () = sleep_until(first) => {}
        }
        if first < until && self.shared.core.lock().is_known(self.model) {
            tokio::select! {
                biased;
                lease = &mut woken => return lease.unwrap_or(Err(LOST)),
                () = sleep_until(until) => {}
            }
        }
        let timed_out = self
            .shared
            .decide(|core, now| core.time_out(self.model, self.ticket, self.is_known, now));
        match timed_out {
            // The slot was granted at the last moment, and the lease is on its way; or the request
            // made room for another one, and its refusal is.
            None => woken.await.unwrap_or(Err(LOST)),
            Some(_) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                Err(Refusal {
                    reason: RefusalReason::Deadline,
                    retry_after: None,
                })
            }
            Some(refusal) => Err(refusal),
        }
    }
}

impl Drop for QueuePosition<'_> {
    fn drop(&mut self) {
        self.shared
            .decide(|core, _| core.leave(self.model, self.ticket));
    }
}
