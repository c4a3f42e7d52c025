//! The pace of a stream: when its first event passed, and the gaps between events.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::time::Duration;

use tokio::time::Instant;

/// A running stream reports to the metrics this often, so that a stream of minutes is visible while
/// it runs.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Gaps that are collected between two reports: at sixty tokens a second, about a second's.
const GAPS: usize = 64;

/// Times of one stream. Plain fields, so that an event touches no shared state.
#[derive(Debug)]
pub(crate) struct StreamTiming {
    has_started: bool,
    last_event: Instant,
    last_report: Instant,
    gaps_us: [u32; GAPS],
    gaps: usize,
}

impl StreamTiming {
    pub(crate) fn start(now: Instant) -> Self {
        Self {
            has_started: false,
            last_event: now,
            last_report: now,
            gaps_us: [0; GAPS],
            gaps: 0,
        }
    }

    /// Events passed. Returns whether they were the first ones.
    pub(crate) fn event(&mut self, now: Instant) -> bool {
        let is_first = !std::mem::replace(&mut self.has_started, true);
        if !is_first && let Some(gap) = self.gaps_us.get_mut(self.gaps) {
            *gap = micros(now.saturating_duration_since(self.last_event));
            self.gaps = self.gaps.saturating_add(1);
        }
        self.last_event = now;
        is_first
    }

    /// Whether the collected gaps must be reported now.
    pub(crate) fn is_report_due(&self) -> bool {
        let since_report = self.last_event.saturating_duration_since(self.last_report);
        self.gaps == GAPS || since_report >= REPORT_EVERY
    }

    /// The gaps since the last report, in microseconds.
    pub(crate) fn take_gaps(&mut self) -> &[u32] {
        self.last_report = self.last_event;
        let gaps = std::mem::take(&mut self.gaps);
        self.gaps_us.get(..gaps).unwrap_or_default()
    }
}

/// A duration in microseconds.
pub(crate) fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SEE-9
    #[test]
    fn gaps_are_reported_every_second_or_when_the_buffer_is_full() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timing = StreamTiming::start(start);
        assert!(timing.event(at(10)), "the first event has no gap");
        assert!(!timing.event(at(30)));
        assert!(!timing.is_report_due());
        assert!(!timing.event(at(1000)));
        assert!(timing.is_report_due());
        assert_eq!(timing.take_gaps(), [20_000, 970_000]);
        assert!(!timing.is_report_due());
        for number in 1..=GAPS as u64 {
            assert!(!timing.is_report_due());
            timing.event(at(1000 + number));
        }
        assert!(timing.is_report_due());
        assert_eq!(timing.take_gaps(), [1000; GAPS]);
        assert!(timing.take_gaps().is_empty());
    }
}
