//! The gateway's traffic of the last ten seconds, for views. Pure: the caller passes the time.

mod latency_histogram;
mod recent_errors;

pub use latency_histogram::Percentiles;
pub use recent_errors::RecentError;
pub(crate) use recent_errors::{RecentErrors, concerns_operators};

use std::time::Duration;

use serde::Serialize;

use latency_histogram::LatencyHistogram;

/// The length of the window.
const WINDOW: Duration = Duration::from_secs(10);
/// The seconds of the window, and the current one.
const SECONDS: usize = 11;

/// The traffic of the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Traffic {
    /// The length of the window in milliseconds.
    pub window_ms: u64,
    /// Requests that ended per second.
    pub requests_per_s: f64,
    /// Requests that failed per second, without those that the client got wrong.
    pub errors_per_s: f64,
    /// Generated tokens per second, by the engine's count. A stream counts its events until the
    /// engine reports a count.
    pub tokens_per_s: f64,
    /// From the request to the first event of its stream.
    pub first_token_ms: Percentiles,
    /// From one event of a stream to the next.
    pub inter_token_ms: Percentiles,
    /// Time in the queue, of requests that got a slot.
    pub queue_ms: Percentiles,
}

/// The traffic of one second.
#[derive(Debug, Clone, Default)]
struct Second {
    /// Its number since the origin.
    number: u64,
    requests: u64,
    errors: u64,
    tokens: u64,
    first_token: LatencyHistogram,
    gaps: LatencyHistogram,
    queued: LatencyHistogram,
}

/// A part of a request's traffic, added to the second in which it happened.
#[derive(Debug, Default)]
pub(crate) struct TrafficSample<'a> {
    /// Set when the request has ended; true when it failed and the client was not at fault.
    pub(crate) ended: Option<bool>,
    pub(crate) tokens: u64,
    pub(crate) first_token_us: Option<u32>,
    pub(crate) queued_us: Option<u32>,
    /// Times between events.
    pub(crate) gaps_us: &'a [u32],
}

/// A ring of the last seconds.
#[derive(Debug)]
pub(crate) struct TrafficWindow([Second; SECONDS]);

impl TrafficWindow {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| Second::default()))
    }

    /// Adds a sample at `now`, which is since an origin of the caller's choice. A sample before the
    /// window is dropped.
    // Engines choose some of the numbers here: a sum of them must not panic.
    #[deny(clippy::arithmetic_side_effects)]
    pub(crate) fn add(&mut self, sample: &TrafficSample<'_>, now: Duration) {
        let Some(second) = self.second(now.as_secs()) else {
            return;
        };
        if let Some(is_error) = sample.ended {
            second.requests = second.requests.saturating_add(1);
            second.errors = second.errors.saturating_add(is_error.into());
        }
        second.tokens = second.tokens.saturating_add(sample.tokens);
        sample
            .first_token_us
            .into_iter()
            .for_each(|us| second.first_token.add(us));
        sample
            .queued_us
            .into_iter()
            .for_each(|us| second.queued.add(us));
        sample.gaps_us.iter().for_each(|us| second.gaps.add(*us));
    }

    fn second(&mut self, number: u64) -> Option<&mut Second> {
        let place = usize::try_from(number % SECONDS as u64).unwrap_or(0);
        let second = &mut self.0[place];
        if second.number > number {
            return None;
        }
        if second.number < number {
            second.number = number;
            (second.requests, second.errors, second.tokens) = (0, 0, 0);
            second.first_token.clear();
            second.gaps.clear();
            second.queued.clear();
        }
        Some(second)
    }

    /// The traffic of the window before `now`, including the current second.
    // Engines choose some of the numbers here: a sum of them must not panic.
    #[deny(clippy::arithmetic_side_effects)]
    pub(crate) fn traffic(&self, now: Duration) -> Traffic {
        let newest = now.as_secs();
        let oldest = newest.saturating_sub(WINDOW.as_secs());
        let mut sum = Second::default();
        for second in self
            .0
            .iter()
            .filter(|second| (oldest..=newest).contains(&second.number))
        {
            sum.requests = sum.requests.saturating_add(second.requests);
            sum.errors = sum.errors.saturating_add(second.errors);
            sum.tokens = sum.tokens.saturating_add(second.tokens);
            sum.first_token.merge(&second.first_token);
            sum.gaps.merge(&second.gaps);
            sum.queued.merge(&second.queued);
        }
        // A process that has just started covers only a part of the window.
        let begun = now
            .saturating_sub(Duration::from_secs(oldest))
            .as_secs_f64()
            .max(1.0);
        #[expect(
            clippy::cast_precision_loss,
            reason = "far fewer than 2^52 within ten seconds"
        )]
        let per_second = |count: u64| (count as f64 / begun * 1000.0).round() / 1000.0;
        Traffic {
            window_ms: u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX),
            requests_per_s: per_second(sum.requests),
            errors_per_s: per_second(sum.errors),
            tokens_per_s: per_second(sum.tokens),
            first_token_ms: sum.first_token.percentiles(),
            inter_token_ms: sum.gaps.percentiles(),
            queue_ms: sum.queued.percentiles(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    // spec: PATH-39
    #[test]
    fn huge_counts_do_not_overflow() {
        let mut window = TrafficWindow::new();
        let sample = TrafficSample {
            tokens: u64::MAX,
            ..TrafficSample::default()
        };
        for second in [1, 1, 2] {
            window.add(&sample, second * S);
        }
        assert!(window.traffic(2 * S).tokens_per_s > 0.0);
    }

    fn request(window: &mut TrafficWindow, is_error: bool, now: Duration) {
        let sample = TrafficSample {
            ended: Some(is_error),
            tokens: 10,
            first_token_us: Some(20_000),
            queued_us: Some(0),
            gaps_us: &[5_000, 5_000],
        };
        window.add(&sample, now);
    }

    // spec: SEE-2
    #[test]
    fn seconds_before_the_window_do_not_count() {
        let mut window = TrafficWindow::new();
        for second in 0..30 {
            request(&mut window, second % 2 == 0, second * S);
        }
        // Seconds 20 to 29, and the 30th, in which nothing happened.
        let traffic = window.traffic(30 * S);
        assert_eq!(traffic.requests_per_s, 1.0);
        assert_eq!(traffic.errors_per_s, 0.5);
        assert_eq!(traffic.tokens_per_s, 10.0);
        let near = |found: Option<f64>, truth: f64| (found.unwrap() - truth).abs() <= 0.07 * truth;
        assert!(near(traffic.first_token_ms.p50, 20.0), "{traffic:?}");
        assert!(near(traffic.inter_token_ms.p99, 5.0), "{traffic:?}");
        let silent = window.traffic(60 * S);
        assert_eq!(
            (silent.requests_per_s, silent.first_token_ms.p50),
            (0.0, None)
        );
    }

    // spec: SEE-2
    #[test]
    fn a_late_sample_is_dropped() {
        let mut window = TrafficWindow::new();
        request(&mut window, false, 16 * S);
        let before = window.traffic(16 * S);
        // The same place in the ring.
        request(&mut window, true, 5 * S);
        assert_eq!(window.traffic(16 * S), before);
        assert_eq!(before.requests_per_s, 0.1);
    }

    // spec: SEE-2
    #[test]
    fn a_young_process_divides_by_its_age() {
        let mut window = TrafficWindow::new();
        for _ in 0..4 {
            request(&mut window, false, S / 2);
        }
        assert_eq!(window.traffic(S / 2).requests_per_s, 4.0);
        assert_eq!(window.traffic(2 * S).requests_per_s, 2.0);
    }
}
