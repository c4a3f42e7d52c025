//! How long to wait: heartbeat interval, backoff and slow retries.

use std::time::Duration;

/// The first backoff's ceiling: a control plane that is being restarted by its supervisor is back in a moment.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);

/// The highest backoff. A node must be attached again within 15 s of a control plane's restart: this, one
/// request that times out (5 s), a registration and a heartbeat fit.
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// How often to repeat what a person must put right: half of the usual node timeout of 30 s, so that a short
/// trouble, such as a token being changed, does not take the node offline.
const SLOW_RETRY: Duration = Duration::from_secs(15);

/// The longest pause the control plane may ask for; a mistaken one must not lose the node.
pub(crate) const MAX_ASKED_PAUSE: Duration = Duration::from_secs(10);

/// Heartbeats and slow retries are spread by this share in both directions, so that nodes that were started
/// together do not stay together.
const SPREAD: f64 = 0.1;

/// The shortest interval the control plane may ask for.
const MIN_ASKED_INTERVAL: Duration = Duration::from_secs(1);

/// A node counts as offline after one timeout: with this many heartbeats in it, two may be lost.
const HEARTBEATS_PER_TIMEOUT: u32 = 3;

/// The heartbeat interval: what was configured, or less where the control plane wants that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    configured: Duration,
    limit: Duration,
    interval: Duration,
}

impl Pace {
    /// The configured interval.
    pub(crate) fn new(configured: Duration) -> Self {
        Self {
            configured,
            limit: configured,
            interval: configured,
        }
    }

    /// The interval in force.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Takes the control plane's wishes. They can only shorten the interval, because a longer one would make a
    /// node look dead to a control plane that has another timeout, and not below one second, because a mistaken
    /// one must not turn heartbeats into load.
    pub(super) fn ask(&mut self, next_heartbeat: Option<Duration>, timeout: Option<Duration>) {
        let floor = self.configured.min(MIN_ASKED_INTERVAL);
        if let Some(timeout) = timeout {
            self.limit = (timeout / HEARTBEATS_PER_TIMEOUT).clamp(floor, self.configured);
        }
        let wanted = next_heartbeat.unwrap_or(self.configured);
        self.interval = wanted.clamp(floor, self.limit);
    }

    /// When the heartbeat after the one sent at `sent_at` is due.
    pub(super) fn next_heartbeat(&self, sent_at: Duration, jitter: f64) -> Duration {
        sent_at.saturating_add(spread(self.interval, jitter))
    }
}

/// `span`, up to a tenth more or less.
fn spread(span: Duration, jitter: f64) -> Duration {
    scale(span, 1.0 - SPREAD + 2.0 * SPREAD * jitter)
}

/// Exponential backoff with full jitter: anything up to a ceiling that doubles with each of `before` earlier
/// failures. Full jitter spreads a fleet that lost its control plane at the same moment best.
pub(super) fn backoff(before: u32, jitter: f64) -> Duration {
    let ceiling = FIRST_BACKOFF
        .saturating_mul(2_u32.saturating_pow(before))
        .min(MAX_BACKOFF);
    scale(ceiling, jitter)
}

/// The pause before repeating what a person must put right.
pub(super) fn slow_retry(jitter: f64) -> Duration {
    spread(SLOW_RETRY, jitter)
}

/// The pause the control plane asked for, as far as it is reasonable.
pub(super) fn asked_pause(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or_default().min(MAX_ASKED_PAUSE)
}

/// A product that cannot panic: a factor that is no number counts as one.
fn scale(span: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(span.as_secs_f64() * factor).unwrap_or(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let ceilings: Vec<_> = (0..8).map(|before| backoff(before, 1.0).as_millis()).collect();
        assert_eq!(ceilings, [200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        assert_eq!(backoff(u32::MAX, 0.5), Duration::from_millis(2500));
        assert_eq!(backoff(3, 0.0), Duration::ZERO);
    }

    #[test]
    fn the_control_plane_shortens_the_interval_within_bounds() {
        for (configured, next, timeout, expected_ms) in [
            (10 * SECOND, Some(10 * SECOND), Some(30 * SECOND), 10_000),
            (10 * SECOND, Some(4 * SECOND), Some(30 * SECOND), 4_000),
            // Never longer than configured, never below one second.
            (10 * SECOND, Some(60 * SECOND), Some(300 * SECOND), 10_000),
            (10 * SECOND, Some(Duration::ZERO), None, 1_000),
            // Three heartbeats fit into the timeout.
            (10 * SECOND, None, Some(15 * SECOND), 5_000),
            (10 * SECOND, Some(10 * SECOND), Some(15 * SECOND), 5_000),
            (10 * SECOND, None, Some(Duration::ZERO), 1_000),
            // Who configures less than a second means it.
            (SECOND / 5, Some(10 * SECOND), Some(30 * SECOND), 200),
            (SECOND / 5, Some(Duration::ZERO), None, 200),
        ] {
            let mut pace = Pace::new(configured);
            pace.ask(next, timeout);
            assert_eq!(
                pace.interval().as_millis(),
                expected_ms,
                "{configured:?} {next:?} {timeout:?}"
            );
        }
    }

    #[test]
    fn a_timeout_once_told_keeps_limiting() {
        let mut pace = Pace::new(10 * SECOND);
        pace.ask(None, Some(6 * SECOND));
        pace.ask(Some(10 * SECOND), None);
        assert_eq!(pace.interval(), 2 * SECOND);
    }

    // spec: REG-1
    #[test]
    fn heartbeats_are_spread_by_a_tenth() {
        let pace = Pace::new(10 * SECOND);
        assert_eq!(pace.next_heartbeat(SECOND, 0.0), 10 * SECOND);
        assert_eq!(pace.next_heartbeat(SECOND, 0.5), 11 * SECOND);
        assert_eq!(pace.next_heartbeat(SECOND, 1.0), 12 * SECOND);
    }
}
