//! What to say to the control plane and when: a pure state machine without I/O, clock or
//! randomness.
//!
//! [`Machine::step`] takes the machine, an event, the time and a random number, and returns the
//! machine and at most one request to send. Whoever runs it sends the request, feeds the outcome
//! back, and between requests sleeps until [`Machine::wake_at`]. There is never more than one
//! request on its way, so outcomes cannot overtake one another.

use std::{num::NonZeroUsize, time::Duration};

use pool_registry_types::MAX_NODE_BODY_BYTES;

mod event;
mod pace;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub(crate) use event::{Event, Failure, Input, Request, Send};
pub(crate) use pace::{MAX_ASKED_PAUSE, MAX_SET_INTERVAL, Pace};

/// Changes within this time go out as one heartbeat: long enough to gather the engines of one
/// restart, too short for a person or a router to notice.
pub(crate) const COALESCE: Duration = Duration::from_millis(50);

/// How much a heartbeat holds at most after one was refused for its size: less than the megabyte
/// that proxies take when nobody has told them otherwise, and enough for what is needed of the most
/// pools.
pub(crate) const BRIEF_REPORT_BYTES: usize = 768 * 1024;

/// How long reports stay that brief. Then a whole one is tried, because somebody may have raised
/// the limit.
const BRIEF_FOR: Duration = Duration::from_secs(10 * 60);

/// Where the node stands with the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is not registered, or the control plane has forgotten it.
    Registering,
    /// Its registration was accepted; heartbeats keep it.
    Registered,
    /// A later life of this node has registered: this one stays silent for good.
    Superseded,
    /// It is taking its registration back.
    Deregistering,
    /// Nothing more will be sent.
    Stopped,
}

/// The state; see the module documentation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Machine {
    pace: Pace,
    endpoints: NonZeroUsize,
    phase: Phase,
    /// The request whose outcome is awaited.
    in_flight: Option<Request>,
    /// When the next request is due, unless one is in flight.
    due: Duration,
    /// When the last request was sent; the heartbeat interval counts from here, so that a slow
    /// answer does not stretch it.
    sent_at: Duration,
    /// Which control plane address is used; below `endpoints`.
    endpoint: usize,
    /// Failures since a heartbeat was last accepted. A registration alone does not reset it: a
    /// control plane that accepts every registration and forgets it at once must not be
    /// hammered.
    failures: u32,
    /// The number of the last heartbeat.
    seq: u64,
    /// The control plane holds a registration of ours, as far as we know: there is something to
    /// take back.
    held: bool,
    /// The node's state changed while a request was in flight.
    changed: bool,
    /// A heartbeat was refused for its size: until when they are brief.
    brief_until: Option<Duration>,
    /// Set once stopping was asked for.
    stop: Option<Stop>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Stop {
    /// Until when the registration may be taken back; `None` keeps it.
    deregister_by: Option<Duration>,
    /// How many addresses were tried.
    tries: usize,
}

impl Machine {
    /// A machine that registers at once.
    pub(crate) fn new(heartbeat_interval: Duration, endpoints: NonZeroUsize) -> Self {
        Self {
            pace: Pace::new(heartbeat_interval),
            endpoints,
            phase: Phase::Registering,
            in_flight: None,
            due: Duration::ZERO,
            sent_at: Duration::ZERO,
            endpoint: 0,
            failures: 0,
            seq: 0,
            held: false,
            changed: false,
            brief_until: None,
            stop: None,
        }
    }

    /// Where the node stands.
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Failures since a heartbeat was last accepted.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// The heartbeat interval in force, without jitter.
    pub(crate) fn interval(&self) -> Duration {
        self.pace.interval()
    }

    /// The control plane holds a registration of ours, as far as we know.
    pub(crate) fn held(&self) -> bool {
        self.held
    }

    /// How much the next heartbeat may hold.
    pub(crate) fn max_report_bytes(&self) -> usize {
        if self.brief_until.is_some() {
            BRIEF_REPORT_BYTES
        } else {
            MAX_NODE_BODY_BYTES
        }
    }

    /// Until when the registration may be taken back, once stopping was asked for.
    pub(crate) fn deregister_by(&self) -> Option<Duration> {
        self.stop.and_then(|stop| stop.deregister_by)
    }

    /// When [`Event::Tick`] is due; `None` while an outcome is awaited or nothing will ever be sent
    /// unasked.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        let waiting = self.in_flight.is_none()
            && matches!(self.phase, Phase::Registering | Phase::Registered);
        waiting.then_some(self.due)
    }

    /// Takes one step.
    pub(crate) fn step(mut self, input: Input) -> (Self, Option<Send>) {
        self.apply(input);
        let request = self.next_request(input.now);
        if let Some(request) = request {
            self.in_flight = Some(request);
            self.sent_at = input.now;
        }
        let endpoint = self.endpoint;
        (self, request.map(|request| Send { request, endpoint }))
    }

    fn apply(&mut self, Input { event, now, jitter }: Input) {
        match event {
            Event::Tick => {}
            Event::StateChanged => self.on_change(now),
            Event::Stop { deregister_by } => {
                self.stop.get_or_insert(Stop {
                    deregister_by,
                    tries: 0,
                });
            }
            // An outcome nobody waits for cannot mean anything.
            _ if self.in_flight.is_none() => {}
            Event::Registered {
                next_heartbeat,
                timeout,
            } => {
                self.in_flight = None;
                self.phase = Phase::Registered;
                self.held = true;
                self.changed = false;
                self.pace.registered(next_heartbeat, timeout);
                // The control plane routes nothing here before it knows the pools.
                self.due = now;
            }
            Event::HeartbeatAccepted {
                next_heartbeat,
                timeout,
            } => {
                self.in_flight = None;
                self.failures = 0;
                self.pace.accepted(next_heartbeat, timeout);
                self.due = self.pace.next_heartbeat(self.sent_at, jitter).max(now);
                if std::mem::take(&mut self.changed) {
                    self.on_change(now);
                }
            }
            Event::Deregistered => {
                self.in_flight = None;
                self.held = false;
            }
            Event::Failed(failure) => self.on_failure(failure, now, jitter),
        }
    }

    fn on_change(&mut self, now: Duration) {
        if self.in_flight.is_some() {
            self.changed = true;
        } else if self.phase == Phase::Registered && self.failures == 0 {
            self.due = self.due.min(now.saturating_add(COALESCE));
        }
        // Otherwise the next request is a retry: it must keep its distance, and it carries the new
        // state.
    }

    fn on_failure(&mut self, failure: Failure, now: Duration, jitter: f64) {
        let request = self.in_flight.take();
        if request == Some(Request::Deregister) {
            if let Some(stop) = &mut self.stop {
                stop.tries += 1;
            }
            self.next_endpoint();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let delay = match failure {
            Failure::Superseded => {
                self.phase = Phase::Superseded;
                self.held = false;
                return;
            }
            Failure::Conflict => {
                self.phase = Phase::Registering;
                self.held = false;
                self.pace.slow_retry(jitter)
            }
            Failure::UnknownNode => {
                self.phase = Phase::Registering;
                self.held = false;
                // At once the first time. Nodes need no spreading here: their heartbeats are spread
                // already.
                match self.failures - 1 {
                    0 => Duration::ZERO,
                    before => self.pace.backoff(before - 1, jitter),
                }
            }
            Failure::TooLarge if self.brief_until.is_none() => {
                self.brief_until = Some(now.saturating_add(BRIEF_FOR));
                Duration::ZERO
            }
            Failure::TooLarge | Failure::Refused => {
                self.next_endpoint();
                self.pace.slow_retry(jitter)
            }
            Failure::Unavailable { retry_after } => {
                self.next_endpoint();
                self.failover_delay(jitter)
                    .max(self.pace.asked_pause(retry_after))
            }
        };
        self.due = now.saturating_add(delay);
    }

    /// Every address gets one try at once; then all of them rest.
    fn failover_delay(&self, jitter: f64) -> Duration {
        let endpoints = u32::try_from(self.endpoints.get()).unwrap_or(u32::MAX);
        match self.failures / endpoints {
            0 => Duration::ZERO,
            rounds => self.pace.backoff(rounds - 1, jitter),
        }
    }

    fn next_endpoint(&mut self) {
        self.endpoint = (self.endpoint + 1) % self.endpoints;
    }

    fn next_request(&mut self, now: Duration) -> Option<Request> {
        if self.in_flight.is_some() || self.phase == Phase::Stopped {
            return None;
        }
        if let Some(stop) = self.stop {
            let may_try =
                stop.deregister_by.is_some_and(|by| now < by) && stop.tries < self.endpoints.get();
            if self.held && may_try {
                self.phase = Phase::Deregistering;
                return Some(Request::Deregister);
            }
            self.phase = Phase::Stopped;
            return None;
        }
        if now < self.due {
            return None;
        }
        match self.phase {
            Phase::Registering => Some(Request::Register),
            Phase::Registered => {
                self.seq += 1;
                self.brief_until = self.brief_until.filter(|until| now < *until);
                Some(Request::Heartbeat { seq: self.seq })
            }
            Phase::Superseded | Phase::Deregistering | Phase::Stopped => None,
        }
    }
}
