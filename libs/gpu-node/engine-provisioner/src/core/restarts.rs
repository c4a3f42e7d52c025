//! How soon a failed engine is started again, and when to give up. Pure.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// An engine that worked and crashed is started again almost at once.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// Short enough to start soon after a missing file is there, long enough to cause no load.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// After this many failed starts within [`CRASH_LOOP_WINDOW`] another start will not help. With the
/// backoff above, an engine that crashes at once gets there in 26 s, and one that takes three
/// seconds to crash in 53 s.
const CRASH_LOOP_STARTS: usize = 10;
/// See [`CRASH_LOOP_STARTS`].
const CRASH_LOOP_WINDOW: Duration = Duration::from_secs(60);
/// An engine that was ready for this long has recovered from earlier failures.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RestartDecision {
    /// Start again after this time.
    RetryAfter(Duration),
    /// Give up.
    CrashLoop { starts: usize, within: Duration },
}

/// The starts of one engine.
#[derive(Debug, Default)]
pub(super) struct RestartBackoff {
    /// The latest starts, oldest first; at most [`CRASH_LOOP_STARTS`].
    recent: VecDeque<Instant>,
    /// Failures since it was last stable.
    failures: u32,
    total: u64,
}

impl RestartBackoff {
    /// How often it was started after the first time.
    pub(super) fn count(&self) -> u64 {
        self.total.saturating_sub(1)
    }

    pub(super) fn started(&mut self, now: Instant) {
        self.total += 1;
        if self.recent.len() == CRASH_LOOP_STARTS {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
    }

    /// It is started for a request, and not after a failure.
    pub(super) fn started_on_demand(&mut self, now: Instant) {
        self.reset();
        self.recent.push_back(now);
        self.total = self.total.max(1);
    }

    /// It was started by an earlier agent.
    pub(super) fn adopted(&mut self) {
        self.total += 1;
    }

    pub(super) fn start_failed(&mut self) {
        self.recent.pop_back();
        self.total = self.total.saturating_sub(1);
    }

    pub(super) fn was_ready_for(&mut self, time: Duration) {
        if time >= STABLE_AFTER {
            self.reset();
        }
    }

    /// Forgets earlier failures.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
        self.recent.clear();
    }

    pub(super) fn failed(&mut self, now: Instant) -> RestartDecision {
        let is_crash_loop = self.recent.len() == CRASH_LOOP_STARTS
            && (self.recent.front())
                .is_some_and(|&first| now.saturating_duration_since(first) <= CRASH_LOOP_WINDOW);
        if is_crash_loop {
            return RestartDecision::CrashLoop {
                starts: CRASH_LOOP_STARTS,
                within: CRASH_LOOP_WINDOW,
            };
        }
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        RestartDecision::RetryAfter(FIRST_BACKOFF.saturating_mul(factor).min(LONGEST_BACKOFF))
    }
}
