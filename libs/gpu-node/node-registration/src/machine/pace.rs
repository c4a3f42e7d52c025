//! The pauses: heartbeat interval, backoff and slow retries.

use std::time::Duration;

/// The ceiling of the first backoff. A control plane that its supervisor restarts is back within
/// this time.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);

/// The ceiling of backoffs at the default interval. A node must be registered again within 15 s of
/// a restart of the control plane: this backoff, one request that times out (5 s), a registration
/// and a heartbeat fit. With a longer interval the ceiling is half of it, so that a large fleet
/// does not overload a control plane that returns.
pub(super) const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// The pause before retrying what an operator must fix: half of the default node timeout of 30 s,
/// so that a short problem, such as a changed token, does not take the node offline. Half of a
/// longer timeout if there is one.
const SLOW_RETRY: Duration = Duration::from_secs(15);

/// The longest pause that the control plane may request at the default interval; a wrong value must
/// not lose the node. With a longer timeout, a third of it.
pub(crate) const MAX_ASKED_PAUSE: Duration = Duration::from_secs(10);

/// The jitter of heartbeats and slow retries, in both directions, so that nodes that started
/// together drift apart.
const SPREAD: f64 = 0.1;

/// The shortest interval that the control plane may request.
const MIN_ASKED_INTERVAL: Duration = Duration::from_secs(1);

/// A node is offline after one timeout. With this many heartbeats per timeout, two may be lost.
const HEARTBEATS_PER_TIMEOUT: u32 = 3;

/// The longest interval that the control plane may set. It allows three heartbeats in the timeouts
/// of a fleet of 100 000 nodes, and a wrong value does not silence a node for hours.
pub(crate) const MAX_SET_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// The heartbeat interval and the pauses between retries.
///
/// A control plane that sends its timeout in the answer to a heartbeat sets the interval: it
/// expects the node to follow, and judges it by that timeout. A control plane of version 0.1.0
/// sends the timeout only in the answer to a registration. It can shorten the configured interval,
/// but not lengthen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    configured: Duration,
    /// The longest interval while the control plane sets none: a third of the timeout in its answer
    /// to the registration.
    limit: Duration,
    interval: Duration,
    /// The timeout in the last answer to a heartbeat.
    timeout: Option<Duration>,
}

impl Pace {
    /// The configured interval.
    pub(crate) fn new(configured: Duration) -> Self {
        Self {
            configured,
            limit: configured,
            interval: configured,
            timeout: None,
        }
    }

    /// The interval in force.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Applies the answer to a registration. It can only shorten the interval: a control plane of
    /// version 0.1.0 sends the same answer and expects the configured interval or less.
    pub(super) fn registered(
        &mut self,
        next_heartbeat: Option<Duration>,
        timeout: Option<Duration>,
    ) {
        if let Some(timeout) = timeout {
            self.limit = share(timeout).clamp(self.floor(), self.configured);
        }
        let requested = next_heartbeat.unwrap_or(self.configured);
        self.interval = requested.clamp(self.floor(), self.limit);
    }

    /// Applies the answer to a heartbeat. With a timeout it sets the interval, up to a third of the
    /// timeout. Without a timeout it can only shorten the configured interval.
    pub(super) fn accepted(&mut self, next_heartbeat: Duration, timeout: Option<Duration>) {
        self.timeout = timeout;
        let longest = match timeout {
            Some(timeout) => share(timeout).min(MAX_SET_INTERVAL),
            None => self.limit,
        };
        let floor = self.floor();
        self.interval = next_heartbeat.clamp(floor, longest.max(floor));
    }

    /// One second, so that a wrong answer does not turn heartbeats into load; less if the node is
    /// configured with less.
    fn floor(&self) -> Duration {
        self.configured.min(MIN_ASKED_INTERVAL)
    }

    /// When the heartbeat after the one sent at `sent_at` is due.
    pub(super) fn next_heartbeat(&self, sent_at: Duration, jitter: f64) -> Duration {
        sent_at.saturating_add(spread(self.interval, jitter))
    }

    /// Exponential backoff with full jitter: up to a ceiling that doubles with each of `before`
    /// earlier failures. Full jitter spreads a fleet that lost its control plane at the same moment
    /// best.
    pub(super) fn backoff(&self, before: u32, jitter: f64) -> Duration {
        let ceiling = FIRST_BACKOFF
            .saturating_mul(2_u32.saturating_pow(before))
            .min(self.longest_backoff());
        scale(ceiling, jitter)
    }

    /// The ceiling of all backoffs.
    pub(super) fn longest_backoff(&self) -> Duration {
        self.timeout
            .map_or(LONGEST_BACKOFF, |_| LONGEST_BACKOFF.max(self.interval / 2))
    }

    /// The pause before retrying what an operator must fix.
    pub(super) fn slow_retry(&self, jitter: f64) -> Duration {
        spread(self.slow_retry_interval(), jitter)
    }

    /// The same without jitter.
    pub(super) fn slow_retry_interval(&self) -> Duration {
        self.timeout.map_or(SLOW_RETRY, |timeout| {
            (timeout / 2).clamp(SLOW_RETRY, MAX_SET_INTERVAL)
        })
    }

    /// The pause that the control plane requested, within limits.
    pub(super) fn requested_pause(&self, retry_after: Option<Duration>) -> Duration {
        retry_after
            .unwrap_or_default()
            .min(self.longest_requested_pause())
    }

    /// The longest pause that is accepted.
    pub(super) fn longest_requested_pause(&self) -> Duration {
        self.timeout.map_or(MAX_ASKED_PAUSE, |timeout| {
            share(timeout).clamp(MAX_ASKED_PAUSE, MAX_SET_INTERVAL)
        })
    }
}

/// The share of one heartbeat in a timeout.
fn share(timeout: Duration) -> Duration {
    timeout / HEARTBEATS_PER_TIMEOUT
}

/// `span`, up to a tenth more or less.
fn spread(span: Duration, jitter: f64) -> Duration {
    scale(span, 1.0 - SPREAD + 2.0 * SPREAD * jitter)
}

/// Multiplies without panic; returns `span` when the product is not a valid duration.
fn scale(span: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(span.as_secs_f64() * factor).unwrap_or(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(configured: Duration) -> Pace {
        Pace::new(configured)
    }

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let pace = pace(10 * SECOND);
        let ceilings: Vec<_> = (0..8)
            .map(|before| pace.backoff(before, 1.0).as_millis())
            .collect();
        assert_eq!(ceilings, [200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        assert_eq!(pace.backoff(u32::MAX, 0.5), Duration::from_millis(2500));
        assert_eq!(pace.backoff(3, 0.0), Duration::ZERO);
    }

    /// Configured, next heartbeat, timeout, the interval that follows in milliseconds.
    type Case = (Duration, Option<Duration>, Option<Duration>, u128);

    const SHORTER: [Case; 9] = [
        (TEN, Some(TEN), Some(THIRTY), 10_000),
        (TEN, Some(Duration::from_secs(4)), Some(THIRTY), 4_000),
        // Never longer than configured, never below one second.
        (
            TEN,
            Some(Duration::from_secs(60)),
            Some(Duration::from_secs(300)),
            10_000,
        ),
        (TEN, Some(Duration::ZERO), None, 1_000),
        // Three heartbeats fit into the timeout.
        (TEN, None, Some(Duration::from_secs(15)), 5_000),
        (TEN, Some(TEN), Some(Duration::from_secs(15)), 5_000),
        (TEN, None, Some(Duration::ZERO), 1_000),
        // A configured interval below one second is kept.
        (FIFTH, Some(TEN), Some(THIRTY), 200),
        (FIFTH, Some(Duration::ZERO), None, 200),
    ];

    const TEN: Duration = Duration::from_secs(10);
    const THIRTY: Duration = Duration::from_secs(30);
    const FIFTH: Duration = Duration::from_millis(200);

    #[test]
    fn the_answer_to_a_registration_only_shortens_the_interval() {
        for (configured, next, timeout, expected_ms) in SHORTER {
            let mut pace = pace(configured);
            pace.registered(next, timeout);
            let interval = pace.interval().as_millis();
            assert_eq!(interval, expected_ms, "{configured:?} {next:?} {timeout:?}");
        }
    }

    #[test]
    fn the_timeout_of_a_registration_keeps_limiting() {
        let mut pace = pace(TEN);
        pace.registered(None, Some(6 * SECOND));
        pace.accepted(TEN, None);
        assert_eq!(pace.interval(), 2 * SECOND);
    }

    // spec: REG-40
    #[test]
    fn the_answer_to_a_heartbeat_sets_the_interval_only_with_a_timeout() {
        for (configured, next_ms, timeout_ms, expected_ms) in [
            // A control plane of version 0.1.0: as configured, or less.
            (TEN, 10_000, None, 10_000),
            (TEN, 60_000, None, 10_000),
            (TEN, 4_000, None, 4_000),
            (FIFTH, 60_000, None, 200),
            // With a timeout: the interval of the control plane, also below 10 s.
            (TEN, 10_000, Some(30_000), 10_000),
            (FIFTH, 10_000, Some(30_000), 10_000),
            (5 * SECOND, 10_000, Some(30_000), 10_000),
            (TEN, 4_000, Some(12_000), 4_000),
            (SECOND, 4_000, Some(12_000), 4_000),
            (TEN, 20_000, Some(60_000), 20_000),
            (FIFTH, 20_000, Some(60_000), 20_000),
            (60 * SECOND, 20_000, Some(60_000), 20_000),
            (TEN, 100_000, Some(300_000), 100_000),
            // Three heartbeats fit into the timeout, whatever interval is requested.
            (TEN, 100_000, Some(30_000), 10_000),
            (TEN, 100_000, Some(60_000), 20_000),
            (TEN, 10_000, Some(15_000), 5_000),
            (TEN, 100_000, Some(0), 1_000),
            // A wrong value neither silences a node nor floods the control plane.
            (TEN, u64::MAX, Some(u64::MAX), 600_000),
            (TEN, 0, Some(30_000), 1_000),
            (FIFTH, 0, Some(0), 200),
        ] {
            let mut pace = pace(configured);
            pace.registered(Some(TEN), Some(THIRTY));
            pace.accepted(
                Duration::from_millis(next_ms),
                timeout_ms.map(Duration::from_millis),
            );
            let interval = pace.interval().as_millis();
            assert_eq!(
                interval, expected_ms,
                "{configured:?} {next_ms} {timeout_ms:?}"
            );
        }
    }

    // spec: REG-40
    #[test]
    fn without_a_timeout_the_configured_interval_applies_again() {
        let mut pace = pace(TEN);
        pace.accepted(100 * SECOND, Some(300 * SECOND));
        assert_eq!(pace.interval(), 100 * SECOND);
        pace.accepted(TEN, None);
        assert_eq!(pace.interval(), TEN);
        assert_eq!(pace.longest_backoff(), LONGEST_BACKOFF);
    }

    // spec: REG-41
    #[test]
    fn retries_follow_the_timeout() {
        let mut pace = pace(TEN);
        let retries = |pace: &Pace| {
            [
                pace.longest_backoff(),
                pace.slow_retry_interval(),
                pace.longest_requested_pause(),
            ]
            .map(|pause| pause.as_secs())
        };
        assert_eq!(retries(&pace), [5, 15, 10]);
        for (next, timeout, expected) in [
            // At the default interval or a shorter one, the default pauses apply.
            (10, 30, [5, 15, 10]),
            (2, 6, [5, 15, 10]),
            (20, 60, [10, 30, 20]),
            (100, 300, [50, 150, 100]),
            // No longer than an interval may be.
            (10_000, 30_000, [300, 600, 600]),
        ] {
            pace.accepted(next * SECOND, Some(timeout * SECOND));
            assert_eq!(retries(&pace), expected, "{next} {timeout}");
        }
    }

    // spec: REG-1
    #[test]
    fn heartbeats_are_spread_by_a_tenth() {
        let pace = pace(TEN);
        assert_eq!(pace.next_heartbeat(SECOND, 0.0), 10 * SECOND);
        assert_eq!(pace.next_heartbeat(SECOND, 0.5), 11 * SECOND);
        assert_eq!(pace.next_heartbeat(SECOND, 1.0), 12 * SECOND);
    }
}
