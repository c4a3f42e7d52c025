//! Whether an endpoint is trusted: the data path ejects first and asks later.
//!
//! A refused connection quarantines at once, other failures when there are [`FAILURES_IN_A_ROW`] of
//! them. After a backoff one request is let through as a probe: success restores trust, failure
//! doubles the backoff. A probe passes when its answer begins; a long prompt may take minutes until
//! then, so that the next one follows after another backoff, as if the first had failed. A
//! heartbeat changes nothing here, because a node that can reach us says nothing about whether we
//! can reach it.

use std::time::Duration;

use routing_table::EndpointKey;

/// How many failures in a row (other than a refused connection) end trust: two can be one bad
/// moment.
const FAILURES_IN_A_ROW: u32 = 3;
/// The first quarantine: as long as an engine takes to come up again when it is supervised.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest quarantine: one request a minute costs nothing, and an operator's repair shows
/// within it.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// A backoff is up to this part longer or shorter, so that several control planes do not probe in
/// step.
const JITTER: f64 = 0.2;

/// What was seen to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The connection was refused or not accepted in time: nobody is there.
    Unreachable,
    /// The same of its node: nobody is there for any of the node's endpoints.
    NodeUnreachable,
    /// Anything else: broken off, silent, 5xx.
    Broken,
}

/// A quarantine, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quarantine {
    /// What ended trust.
    pub cause: Failure,
    /// Until a request may go there as a probe; zero while one is under way or due.
    pub retry_in: Duration,
}

/// Trust in an endpoint has ended, or is back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustChange {
    /// Which endpoint.
    pub endpoint: EndpointKey,
    /// What ended trust; `None` when it is back.
    pub lost_by: Option<Failure>,
}

/// Why an endpoint is not trusted, and for how long each time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ban {
    cause: Failure,
    backoff: Duration,
}

impl Ban {
    /// The next one, after a probe that did not pass.
    fn longer(self) -> Self {
        let backoff = (self.backoff * 2).min(LONGEST_BACKOFF);
        Self { backoff, ..self }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Trust {
    Trusted {
        failures: u32,
    },
    Quarantined {
        until: Duration,
        ban: Ban,
    },
    /// Probes are out, of which the first has the number `first`; the next one follows at `until`.
    Probing {
        first: u64,
        until: Duration,
        ban: Ban,
    },
}

/// What the data path thinks of an endpoint. Times are since an origin of the caller's choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Health {
    trust: Trust,
    /// How many probes were sent. The number of a probe tells it from those of earlier
    /// quarantines, whose requests may run for long after.
    probes: u64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            trust: Trust::Trusted { failures: 0 },
            probes: 0,
        }
    }
}

impl Health {
    /// Whether a request may go there: it is trusted, or it is time for a probe.
    pub(crate) fn admits(&self, now: Duration) -> bool {
        self.admits_from().is_none_or(|from| now >= from)
    }

    /// When it is time for a probe; `None` when it is trusted.
    pub(crate) fn admits_from(&self) -> Option<Duration> {
        match self.trust {
            Trust::Trusted { .. } => None,
            Trust::Quarantined { until, .. } | Trust::Probing { until, .. } => Some(until),
        }
    }

    /// Its quarantine, if it is in one.
    pub(crate) fn quarantine(&self, now: Duration) -> Option<Quarantine> {
        let (ban, until) = match self.trust {
            Trust::Trusted { .. } => return None,
            Trust::Quarantined { until, ban } => (ban, until),
            Trust::Probing { ban, .. } => (ban, now),
        };
        Some(Quarantine {
            cause: ban.cause,
            retry_in: until.saturating_sub(now),
        })
    }

    /// What ended its trust, if it is not trusted.
    pub(crate) fn lost_by(&self) -> Option<Failure> {
        match self.trust {
            Trust::Trusted { .. } => None,
            Trust::Quarantined { ban, .. } | Trust::Probing { ban, .. } => Some(ban.cause),
        }
    }

    /// A request goes there; a number when it is a probe after a quarantine.
    pub(crate) fn sent(&mut self, now: Duration) -> Option<u64> {
        let number = self.probes.saturating_add(1);
        let (first, ban) = match self.trust {
            Trust::Trusted { .. } => return None,
            Trust::Quarantined { ban, .. } => (number, ban),
            Trust::Probing { first, ban, .. } => (first, ban.longer()),
        };
        let until = now + ban.backoff;
        self.trust = Trust::Probing { first, until, ban };
        self.probes = number;
        Some(number)
    }

    /// Whether that is a probe of the present quarantine.
    fn is_probing(&self, probe: Option<u64>) -> bool {
        match self.trust {
            Trust::Probing { first, .. } => probe.is_some_and(|probe| probe >= first),
            Trust::Trusted { .. } | Trust::Quarantined { .. } => false,
        }
    }

    /// Whether that is the last probe of the present quarantine. Those before it are taken to have
    /// failed.
    fn is_last_probe(&self, probe: Option<u64>) -> bool {
        self.is_probing(probe) && probe == Some(self.probes)
    }

    /// An answer has begun. A probe has passed by that; what was failing in the middle of its
    /// answers has not shown anything yet.
    pub(crate) fn answered(&mut self, probe: Option<u64>) {
        if self.is_probing(probe) {
            self.trust = Trust::Trusted { failures: 0 };
        }
    }

    /// It answered to the end. One probe re-admits; an answer to a request sent before the
    /// quarantine proves nothing about now.
    pub(crate) fn succeeded(&mut self, probe: Option<u64>) {
        if matches!(self.trust, Trust::Trusted { .. }) || self.is_probing(probe) {
            self.trust = Trust::Trusted { failures: 0 };
        }
    }

    /// It failed; true when this ends its trust. `jitter` is a random number from -1 to 1.
    pub(crate) fn failed(
        &mut self,
        failure: Failure,
        probe: Option<u64>,
        now: Duration,
        jitter: f64,
    ) -> bool {
        let backoff = match (self.trust, failure) {
            (Trust::Trusted { failures }, Failure::Broken) if failures + 1 < FAILURES_IN_A_ROW => {
                self.trust = Trust::Trusted {
                    failures: failures + 1,
                };
                return false;
            }
            (Trust::Trusted { .. }, _) => FIRST_BACKOFF,
            (Trust::Probing { ban, .. }, _) if self.is_last_probe(probe) => ban.longer().backoff,
            // A request sent before the quarantine: known already.
            (Trust::Quarantined { .. } | Trust::Probing { .. }, _) => return false,
        };
        let until = now + backoff.mul_f64(1.0 + JITTER * jitter.clamp(-1.0, 1.0));
        self.trust = Trust::Quarantined {
            until,
            ban: Ban {
                cause: failure,
                backoff,
            },
        };
        true
    }

    /// A request ended without telling anything (its client left): if it was the last probe, the
    /// next one is due.
    pub(crate) fn told_nothing(&mut self, probe: Option<u64>, now: Duration) {
        if let Trust::Probing { ban, .. } = self.trust
            && self.is_last_probe(probe)
        {
            self.trust = Trust::Quarantined { until: now, ban };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    // spec: ADM-6
    #[test]
    fn a_refused_connection_ejects_at_once_others_at_the_third_in_a_row() {
        let mut health = Health::default();
        assert!(health.failed(Failure::Unreachable, Some(health.probes), S, 0.0));
        assert_eq!(health.admits_from(), Some(2 * S));

        let mut health = Health::default();
        assert!(!health.failed(Failure::Broken, None, S, 0.0));
        assert!(!health.failed(Failure::Broken, None, S, 0.0));
        health.succeeded(Some(health.probes));
        assert!(!health.failed(Failure::Broken, None, S, 0.0));
        assert!(!health.failed(Failure::Broken, None, S, 0.0));
        assert!(health.admits(S));
        assert!(health.failed(Failure::Broken, None, S, 0.0));
        assert!(!health.admits(S));
    }

    // spec: ADM-7
    #[test]
    fn one_probe_at_a_time_and_one_success_is_enough() {
        let mut health = Health::default();
        health.failed(Failure::Unreachable, Some(health.probes), S, 0.0);
        assert!(!health.admits(S) && health.admits(2 * S));
        health.sent(2 * S);
        assert!(!health.admits(2 * S), "a probe is out");
        health.told_nothing(Some(health.probes), 2 * S);
        assert!(health.admits(2 * S), "the probe told nothing");
        health.sent(2 * S);
        health.succeeded(Some(health.probes));
        assert_eq!(health.quarantine(3 * S), None);
    }

    // spec: ADM-7
    #[test]
    fn backoff_doubles_to_a_minute() {
        let mut health = Health::default();
        let mut now = S;
        let mut waits = Vec::new();
        for _ in 0..8 {
            health.failed(Failure::Unreachable, Some(health.probes), now, 0.0);
            let until = health.admits_from().unwrap();
            waits.push((until - now).as_secs());
            now = until;
            health.sent(now);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    // spec: ADM-14
    #[test]
    fn probes_that_are_not_answered_follow_each_other_as_if_they_had_failed() {
        let mut health = Health::default();
        health.failed(Failure::Broken, None, S, 0.0);
        health.failed(Failure::Unreachable, Some(health.probes), S, 0.0);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let now = health.admits_from().unwrap();
            assert!(health.sent(now).is_some());
            assert!(!health.admits(now), "one at a time");
            waits.push((health.admits_from().unwrap() - now).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        // The first of them is answered at last.
        health.answered(Some(1));
        assert_eq!(health.quarantine(S), None);
    }

    #[test]
    fn jitter_stays_within_its_part() {
        for (jitter, millis) in [(-1.0, 800), (0.0, 1000), (1.0, 1200), (9.0, 1200)] {
            let mut health = Health::default();
            health.failed(Failure::Unreachable, None, Duration::ZERO, jitter);
            assert_eq!(health.admits_from(), Some(Duration::from_millis(millis)));
        }
    }

    #[test]
    fn late_news_of_an_earlier_time_change_nothing() {
        let mut health = Health::default();
        health.failed(Failure::Unreachable, None, S, 0.0);
        for is_probe_out in [false, true] {
            if is_probe_out {
                assert!(health.sent(2 * S).is_some());
            }
            let before = health;
            health.answered(None);
            health.succeeded(None);
            health.told_nothing(None, 2 * S);
            assert!(!health.failed(Failure::Unreachable, None, 2 * S, 0.0));
            assert_eq!(health, before);
        }
    }

    #[test]
    fn answers_that_begin_well_and_break_are_failures_in_a_row() {
        let mut health = Health::default();
        for failure in 1..=3 {
            health.answered(None);
            assert_eq!(health.failed(Failure::Broken, None, S, 0.0), failure == 3);
        }
    }

    // spec: ADM-14
    #[test]
    fn a_probe_speaks_for_its_own_quarantine_only() {
        let mut health = Health::default();
        health.failed(Failure::Unreachable, None, S, 0.0);
        let first = health.sent(2 * S);
        health.answered(first);
        assert_eq!(health.lost_by(), None);
        // Its answer goes on for long; meanwhile the engine is gone.
        health.failed(Failure::Unreachable, None, 3 * S, 0.0);
        for now in [3 * S, 4 * S] {
            let before = health;
            health.answered(first);
            health.succeeded(first);
            health.told_nothing(first, now);
            assert!(!health.failed(Failure::Broken, first, now, 0.0));
            assert_eq!(health, before);
            health.sent(4 * S);
        }
    }

    // spec: ADM-14
    #[test]
    fn only_the_last_probe_makes_room_for_the_next_and_any_can_pass() {
        let mut health = Health::default();
        health.failed(Failure::Unreachable, None, S, 0.0);
        let first = health.sent(2 * S);
        let second = health.sent(3 * S);
        health.told_nothing(first, 3 * S);
        assert!(!health.failed(Failure::Broken, first, 3 * S, 0.0));
        assert!(!health.admits(3 * S), "the second is out");
        let mut passed = health;
        passed.answered(first);
        assert_eq!(passed.lost_by(), None);
        health.told_nothing(second, 3 * S);
        assert!(health.admits(3 * S));
    }
}
