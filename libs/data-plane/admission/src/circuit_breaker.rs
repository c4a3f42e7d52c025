//! A circuit breaker per endpoint, driven by failures of the data path.
//!
//! A refused connection opens the breaker at once; other failures open it after
//! [`FAILURES_IN_A_ROW`] of them. After a backoff the breaker is half-open: one request is sent as
//! a probe. A success closes the breaker, a failure doubles the backoff.
//!
//! A probe succeeds when its response begins. A long prompt may take minutes until then, so the
//! next probe follows after another backoff, as if the first had failed. Heartbeats do not affect
//! the breaker: a node that reaches the control plane may still be unreachable from it.

use std::time::Duration;

use routing_table::EndpointKey;

/// How many failures in a row (other than a refused connection) open the breaker. Two may have one
/// transient cause.
const FAILURES_IN_A_ROW: u32 = 3;
/// The first backoff: as long as a supervised engine takes to restart.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest backoff. One request a minute costs nothing, and a repair takes effect within it.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// A backoff is longer or shorter by up to this fraction, so that several control planes do not
/// probe in step.
const JITTER: f64 = 0.2;

/// A failure of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointFailure {
    /// The endpoint refused the connection, or did not accept it in time.
    Unreachable,
    /// The node refused the connection, or did not accept it in time. All its endpoints are
    /// unreachable.
    NodeUnreachable,
    /// The endpoint closed the connection, stayed silent, or did not send HTTP.
    Broken,
    /// A proxy in front of the engine, and not the engine, sent the response (502, 503 or 504), or
    /// the response was proper HTTP but no proper stream. It does not open the breaker of the last
    /// endpoint that can serve a model: a response that may help is better than none.
    BadResponse,
}

/// An open circuit breaker, for status displays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenBreaker {
    /// The failure that opened it.
    pub cause: EndpointFailure,
    /// The time until a request is sent as a probe; zero while a probe is due or running.
    pub retry_in: Duration,
}

/// A circuit breaker has opened or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerChange {
    /// The breaker's endpoint.
    pub endpoint: EndpointKey,
    /// The failure that opened the breaker; `None` when it has closed.
    pub opened_by: Option<EndpointFailure>,
}

/// Why a breaker is open, and its present backoff.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Opening {
    cause: EndpointFailure,
    backoff: Duration,
}

impl Opening {
    /// The same with the backoff that follows a failed probe.
    fn with_next_backoff(self) -> Self {
        let backoff = (self.backoff * 2).min(LONGEST_BACKOFF);
        Self { backoff, ..self }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum BreakerState {
    /// Requests are sent.
    Closed { failures: u32 },
    /// No requests are sent before `until`.
    Open { until: Duration, opening: Opening },
    /// Probes are running. The first of them has the number `first_probe`; the next one may follow
    /// at `until`.
    HalfOpen {
        first_probe: u64,
        until: Duration,
        opening: Opening,
    },
}

/// The circuit breaker of one endpoint. Times count from an origin of the caller's choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CircuitBreaker {
    state: BreakerState,
    /// The number of probes so far. A probe's number distinguishes it from probes of earlier
    /// openings, whose requests may run much longer.
    probes: u64,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            state: BreakerState::Closed { failures: 0 },
            probes: 0,
        }
    }
}

impl CircuitBreaker {
    /// Whether a request may be sent: the breaker is closed, or a probe is due.
    pub(crate) fn admits(&self, now: Duration) -> bool {
        self.admits_from().is_none_or(|from| now >= from)
    }

    /// When the next probe is due; `None` when the breaker is closed.
    pub(crate) fn admits_from(&self) -> Option<Duration> {
        match self.state {
            BreakerState::Closed { .. } => None,
            BreakerState::Open { until, .. } | BreakerState::HalfOpen { until, .. } => Some(until),
        }
    }

    /// The status of the breaker, unless it is closed.
    pub(crate) fn open_breaker(&self, now: Duration) -> Option<OpenBreaker> {
        let (opening, until) = match self.state {
            BreakerState::Closed { .. } => return None,
            BreakerState::Open { until, opening } => (opening, until),
            BreakerState::HalfOpen { opening, .. } => (opening, now),
        };
        Some(OpenBreaker {
            cause: opening.cause,
            retry_in: until.saturating_sub(now),
        })
    }

    /// The failure that opened the breaker, unless it is closed.
    pub(crate) fn opened_by(&self) -> Option<EndpointFailure> {
        match self.state {
            BreakerState::Closed { .. } => None,
            BreakerState::Open { opening, .. } | BreakerState::HalfOpen { opening, .. } => {
                Some(opening.cause)
            }
        }
    }

    /// A request is sent. Returns its probe number if it is a probe.
    pub(crate) fn request_sent(&mut self, now: Duration) -> Option<u64> {
        let number = self.probes.saturating_add(1);
        let (first_probe, opening) = match self.state {
            BreakerState::Closed { .. } => return None,
            BreakerState::Open { opening, .. } => (number, opening),
            BreakerState::HalfOpen {
                first_probe,
                opening,
                ..
            } => (first_probe, opening.with_next_backoff()),
        };
        self.state = BreakerState::HalfOpen {
            first_probe,
            until: now + opening.backoff,
            opening,
        };
        self.probes = number;
        Some(number)
    }

    /// Whether this is a probe of the present opening.
    fn is_current_probe(&self, probe: Option<u64>) -> bool {
        match self.state {
            BreakerState::HalfOpen { first_probe, .. } => {
                probe.is_some_and(|probe| probe >= first_probe)
            }
            BreakerState::Closed { .. } | BreakerState::Open { .. } => false,
        }
    }

    /// Whether this is the latest probe of the present opening. Earlier ones count as failed.
    fn is_latest_probe(&self, probe: Option<u64>) -> bool {
        self.is_current_probe(probe) && probe == Some(self.probes)
    }

    /// A response has begun. This closes the breaker if the request was a probe. A closed breaker
    /// keeps its count of failures: responses that begin may still break.
    pub(crate) fn response_started(&mut self, probe: Option<u64>) {
        if self.is_current_probe(probe) {
            self.state = BreakerState::Closed { failures: 0 };
        }
    }

    /// A response was complete. A probe closes the breaker. A request that was sent before the
    /// breaker opened shows nothing about the present.
    pub(crate) fn succeeded(&mut self, probe: Option<u64>) {
        let is_closed = matches!(self.state, BreakerState::Closed { .. });
        if is_closed || self.is_current_probe(probe) {
            self.state = BreakerState::Closed { failures: 0 };
        }
    }

    /// A request failed. Returns whether this opens the breaker. `jitter` is a random number from
    /// -1 to 1.
    pub(crate) fn failed(
        &mut self,
        failure: EndpointFailure,
        probe: Option<u64>,
        now: Duration,
        jitter: f64,
    ) -> bool {
        let backoff = match (self.state, failure) {
            (
                BreakerState::Closed { failures },
                EndpointFailure::Broken | EndpointFailure::BadResponse,
            ) if failures + 1 < FAILURES_IN_A_ROW => {
                self.state = BreakerState::Closed {
                    failures: failures + 1,
                };
                return false;
            }
            (BreakerState::Closed { .. }, _) => FIRST_BACKOFF,
            (BreakerState::HalfOpen { opening, .. }, _) if self.is_latest_probe(probe) => {
                opening.with_next_backoff().backoff
            }
            // The request was sent before the breaker opened.
            (BreakerState::Open { .. } | BreakerState::HalfOpen { .. }, _) => return false,
        };
        self.state = BreakerState::Open {
            until: now + backoff.mul_f64(1.0 + JITTER * jitter.clamp(-1.0, 1.0)),
            opening: Opening {
                cause: failure,
                backoff,
            },
        };
        true
    }

    /// A request ended without evidence, because its client left or it went elsewhere. If it was
    /// the latest probe, the next probe is due at once.
    pub(crate) fn abandoned(&mut self, probe: Option<u64>, now: Duration) {
        if let BreakerState::HalfOpen { opening, .. } = self.state
            && self.is_latest_probe(probe)
        {
            self.state = BreakerState::Open {
                until: now,
                opening,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    // spec: ADM-6
    #[test]
    fn a_refused_connection_opens_at_once_other_failures_at_the_third_in_a_row() {
        let mut breaker = CircuitBreaker::default();
        assert!(breaker.failed(EndpointFailure::Unreachable, Some(breaker.probes), S, 0.0));
        assert_eq!(breaker.admits_from(), Some(2 * S));

        let mut breaker = CircuitBreaker::default();
        assert!(!breaker.failed(EndpointFailure::Broken, None, S, 0.0));
        assert!(!breaker.failed(EndpointFailure::Broken, None, S, 0.0));
        breaker.succeeded(Some(breaker.probes));
        assert!(!breaker.failed(EndpointFailure::Broken, None, S, 0.0));
        assert!(!breaker.failed(EndpointFailure::Broken, None, S, 0.0));
        assert!(breaker.admits(S));
        assert!(breaker.failed(EndpointFailure::Broken, None, S, 0.0));
        assert!(!breaker.admits(S));
    }

    // spec: ADM-7
    #[test]
    fn one_probe_at_a_time_and_one_success_is_enough() {
        let mut breaker = CircuitBreaker::default();
        breaker.failed(EndpointFailure::Unreachable, Some(breaker.probes), S, 0.0);
        assert!(!breaker.admits(S) && breaker.admits(2 * S));
        breaker.request_sent(2 * S);
        assert!(!breaker.admits(2 * S), "a probe is running");
        breaker.abandoned(Some(breaker.probes), 2 * S);
        assert!(breaker.admits(2 * S), "the probe was abandoned");
        breaker.request_sent(2 * S);
        breaker.succeeded(Some(breaker.probes));
        assert_eq!(breaker.open_breaker(3 * S), None);
    }

    // spec: ADM-7
    #[test]
    fn backoff_doubles_to_a_minute() {
        let mut breaker = CircuitBreaker::default();
        let mut now = S;
        let mut backoffs = Vec::new();
        for _ in 0..8 {
            breaker.failed(EndpointFailure::Unreachable, Some(breaker.probes), now, 0.0);
            let until = breaker.admits_from().unwrap();
            backoffs.push((until - now).as_secs());
            now = until;
            breaker.request_sent(now);
        }
        assert_eq!(backoffs, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    // spec: ADM-14
    #[test]
    fn unanswered_probes_back_off_as_if_they_had_failed() {
        let mut breaker = CircuitBreaker::default();
        breaker.failed(EndpointFailure::Broken, None, S, 0.0);
        breaker.failed(EndpointFailure::Unreachable, Some(breaker.probes), S, 0.0);
        let mut backoffs = Vec::new();
        for _ in 0..8 {
            let now = breaker.admits_from().unwrap();
            assert!(breaker.request_sent(now).is_some());
            assert!(!breaker.admits(now), "one at a time");
            backoffs.push((breaker.admits_from().unwrap() - now).as_secs());
        }
        assert_eq!(backoffs, [1, 2, 4, 8, 16, 32, 60, 60]);
        // The response to the first one begins at last.
        breaker.response_started(Some(1));
        assert_eq!(breaker.open_breaker(S), None);
    }

    #[test]
    fn jitter_stays_within_its_fraction() {
        for (jitter, millis) in [(-1.0, 800), (0.0, 1000), (1.0, 1200), (9.0, 1200)] {
            let mut breaker = CircuitBreaker::default();
            breaker.failed(EndpointFailure::Unreachable, None, Duration::ZERO, jitter);
            assert_eq!(breaker.admits_from(), Some(Duration::from_millis(millis)));
        }
    }

    #[test]
    fn requests_sent_before_the_opening_change_nothing() {
        let mut breaker = CircuitBreaker::default();
        breaker.failed(EndpointFailure::Unreachable, None, S, 0.0);
        for is_probe_running in [false, true] {
            if is_probe_running {
                assert!(breaker.request_sent(2 * S).is_some());
            }
            let before = breaker;
            breaker.response_started(None);
            breaker.succeeded(None);
            breaker.abandoned(None, 2 * S);
            assert!(!breaker.failed(EndpointFailure::Unreachable, None, 2 * S, 0.0));
            assert_eq!(breaker, before);
        }
    }

    #[test]
    fn responses_that_begin_and_break_are_failures_in_a_row() {
        let mut breaker = CircuitBreaker::default();
        for failure in 1..=3 {
            breaker.response_started(None);
            assert_eq!(
                breaker.failed(EndpointFailure::Broken, None, S, 0.0),
                failure == 3
            );
        }
    }

    // spec: ADM-14
    #[test]
    fn a_probe_affects_only_its_own_opening() {
        let mut breaker = CircuitBreaker::default();
        breaker.failed(EndpointFailure::Unreachable, None, S, 0.0);
        let first = breaker.request_sent(2 * S);
        breaker.response_started(first);
        assert_eq!(breaker.opened_by(), None);
        // Its response goes on for long, and the engine fails meanwhile.
        breaker.failed(EndpointFailure::Unreachable, None, 3 * S, 0.0);
        for now in [3 * S, 4 * S] {
            let before = breaker;
            breaker.response_started(first);
            breaker.succeeded(first);
            breaker.abandoned(first, now);
            assert!(!breaker.failed(EndpointFailure::Broken, first, now, 0.0));
            assert_eq!(breaker, before);
            breaker.request_sent(4 * S);
        }
    }

    // spec: ADM-14
    #[test]
    fn only_the_latest_probe_admits_the_next_one_and_any_probe_can_close() {
        let mut breaker = CircuitBreaker::default();
        breaker.failed(EndpointFailure::Unreachable, None, S, 0.0);
        let first = breaker.request_sent(2 * S);
        let second = breaker.request_sent(3 * S);
        breaker.abandoned(first, 3 * S);
        assert!(!breaker.failed(EndpointFailure::Broken, first, 3 * S, 0.0));
        assert!(!breaker.admits(3 * S), "the second is running");
        let mut closed = breaker;
        closed.response_started(first);
        assert_eq!(closed.opened_by(), None);
        breaker.abandoned(second, 3 * S);
        assert!(breaker.admits(3 * S));
    }
}
