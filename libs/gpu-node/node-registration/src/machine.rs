//! What to send to the control plane and when: a pure state machine without I/O, clock or
//! randomness.
//!
//! [`RegistrationMachine::step`] takes the machine, an event, the time and a random number, and
//! returns the machine and at most one request to send. Its runner sends the request, feeds back
//! the outcome, and sleeps between requests until [`RegistrationMachine::wake_at`]. There is never
//! more than one request on its way, so outcomes cannot overtake one another.

use std::{num::NonZeroUsize, time::Duration};

use pool_registry_types::MAX_NODE_BODY_BYTES;

mod event;
mod pace;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub(crate) use event::{
    ControlPlaneRequest, Input, OutgoingRequest, RegistrationEvent, RequestFailure,
};
pub(crate) use pace::{MAX_ASKED_PAUSE, MAX_SET_INTERVAL, Pace};

/// Changes within this time are sent as one heartbeat. This is long enough to combine the changes
/// of one restart, and too short for a person or a router to notice.
pub(crate) const COALESCE: Duration = Duration::from_millis(50);

/// The size limit of heartbeats after one was refused for its size: less than the default limit of
/// proxies (1 MB), and enough for the needed parts of the most pools.
pub(crate) const BRIEF_REPORT_BYTES: usize = 768 * 1024;

/// How long reports stay that short. Then a complete one is tried, because the limit may have been
/// raised.
const BRIEF_FOR: Duration = Duration::from_secs(10 * 60);

/// The phase of the registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RegistrationPhase {
    /// It is not registered, or the control plane has forgotten it.
    Registering,
    /// Its registration was accepted; heartbeats keep it.
    Registered,
    /// A later incarnation of this node has registered. This one sends nothing more.
    Superseded,
    /// It is deregistering.
    Deregistering,
    /// Nothing more will be sent.
    Stopped,
}

/// The state; see the module documentation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RegistrationMachine {
    pace: Pace,
    endpoints: NonZeroUsize,
    phase: RegistrationPhase,
    /// The request whose outcome is awaited.
    in_flight: Option<ControlPlaneRequest>,
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
    /// The control plane has a registration of this node, as far as known.
    held: bool,
    /// The node's state changed while a request was in flight.
    changed: bool,
    /// Until when heartbeats are short, after one was refused for its size.
    brief_until: Option<Duration>,
    /// Set once a stop was requested.
    stop: Option<Stop>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Stop {
    /// The deadline for deregistration; `None` keeps the registration.
    deregister_by: Option<Duration>,
    /// How many addresses were tried.
    tries: usize,
}

impl RegistrationMachine {
    /// A machine that registers at once.
    pub(crate) fn new(heartbeat_interval: Duration, endpoints: NonZeroUsize) -> Self {
        Self {
            pace: Pace::new(heartbeat_interval),
            endpoints,
            phase: RegistrationPhase::Registering,
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

    /// The phase.
    pub(crate) fn phase(&self) -> RegistrationPhase {
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

    /// Whether the control plane has a registration of this node, as far as known.
    pub(crate) fn held(&self) -> bool {
        self.held
    }

    /// The size limit of the next heartbeat.
    pub(crate) fn max_report_bytes(&self) -> usize {
        if self.brief_until.is_some() {
            BRIEF_REPORT_BYTES
        } else {
            MAX_NODE_BODY_BYTES
        }
    }

    /// The deadline for deregistration, once a stop was requested.
    pub(crate) fn deregister_by(&self) -> Option<Duration> {
        self.stop.and_then(|stop| stop.deregister_by)
    }

    /// When [`RegistrationEvent::Tick`] is due; `None` while a request is in flight, or when
    /// nothing more will be sent by itself.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        let waiting = self.in_flight.is_none()
            && matches!(
                self.phase,
                RegistrationPhase::Registering | RegistrationPhase::Registered
            );
        waiting.then_some(self.due)
    }

    /// Takes one step.
    pub(crate) fn step(mut self, input: Input) -> (Self, Option<OutgoingRequest>) {
        self.apply(input);
        let request = self.next_request(input.now);
        if let Some(request) = request {
            self.in_flight = Some(request);
            self.sent_at = input.now;
        }
        let endpoint = self.endpoint;
        (
            self,
            request.map(|request| OutgoingRequest { request, endpoint }),
        )
    }

    fn apply(&mut self, Input { event, now, jitter }: Input) {
        match event {
            RegistrationEvent::Tick => {}
            RegistrationEvent::StateChanged => self.on_change(now),
            RegistrationEvent::Stop { deregister_by } => {
                self.stop.get_or_insert(Stop {
                    deregister_by,
                    tries: 0,
                });
            }
            // Ignore an outcome without a request.
            _ if self.in_flight.is_none() => {}
            RegistrationEvent::Registered {
                next_heartbeat,
                timeout,
            } => {
                self.in_flight = None;
                self.phase = RegistrationPhase::Registered;
                self.held = true;
                self.changed = false;
                self.pace.registered(next_heartbeat, timeout);
                // The control plane sends no requests here before it knows the pools.
                self.due = now;
            }
            RegistrationEvent::HeartbeatAccepted {
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
            RegistrationEvent::Deregistered => {
                self.in_flight = None;
                self.held = false;
            }
            RegistrationEvent::Failed(failure) => self.on_failure(failure, now, jitter),
        }
    }

    fn on_change(&mut self, now: Duration) {
        if self.in_flight.is_some() {
            self.changed = true;
        } else if self.phase == RegistrationPhase::Registered && self.failures == 0 {
            self.due = self.due.min(now.saturating_add(COALESCE));
        }
        // Otherwise the next request is a retry. It keeps its delay, and carries the new state.
    }

    fn on_failure(&mut self, failure: RequestFailure, now: Duration, jitter: f64) {
        let request = self.in_flight.take();
        if request == Some(ControlPlaneRequest::Deregister) {
            if let Some(stop) = &mut self.stop {
                stop.tries += 1;
            }
            self.next_endpoint();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let delay = match failure {
            RequestFailure::Superseded => {
                self.phase = RegistrationPhase::Superseded;
                self.held = false;
                return;
            }
            RequestFailure::Conflict => {
                self.phase = RegistrationPhase::Registering;
                self.held = false;
                self.pace.slow_retry(jitter)
            }
            RequestFailure::UnknownNode => {
                self.phase = RegistrationPhase::Registering;
                self.held = false;
                // At once the first time. No jitter is needed, because heartbeats have it already.
                match self.failures - 1 {
                    0 => Duration::ZERO,
                    before => self.pace.backoff(before - 1, jitter),
                }
            }
            RequestFailure::TooLarge if self.brief_until.is_none() => {
                self.brief_until = Some(now.saturating_add(BRIEF_FOR));
                Duration::ZERO
            }
            RequestFailure::TooLarge | RequestFailure::Refused => {
                self.next_endpoint();
                self.pace.slow_retry(jitter)
            }
            RequestFailure::Unavailable { retry_after } => {
                self.next_endpoint();
                self.failover_delay(jitter)
                    .max(self.pace.requested_pause(retry_after))
            }
        };
        self.due = now.saturating_add(delay);
    }

    /// Tries every address once without delay, then backs off.
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

    fn next_request(&mut self, now: Duration) -> Option<ControlPlaneRequest> {
        if self.in_flight.is_some() || self.phase == RegistrationPhase::Stopped {
            return None;
        }
        if let Some(stop) = self.stop {
            let may_try =
                stop.deregister_by.is_some_and(|by| now < by) && stop.tries < self.endpoints.get();
            if self.held && may_try {
                self.phase = RegistrationPhase::Deregistering;
                return Some(ControlPlaneRequest::Deregister);
            }
            self.phase = RegistrationPhase::Stopped;
            return None;
        }
        if now < self.due {
            return None;
        }
        match self.phase {
            RegistrationPhase::Registering => Some(ControlPlaneRequest::Register),
            RegistrationPhase::Registered => {
                self.seq += 1;
                self.brief_until = self.brief_until.filter(|until| now < *until);
                Some(ControlPlaneRequest::Heartbeat { seq: self.seq })
            }
            RegistrationPhase::Superseded
            | RegistrationPhase::Deregistering
            | RegistrationPhase::Stopped => None,
        }
    }
}
