//! How soon an engine that fails is started again, and when it is given up. Pure.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// An engine that worked and crashed is missed at once.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// Soon enough after whatever was missing is there again, seldom enough to be no load.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// So many starts within [`STORM_WINDOW`] that all failed: the next will not help either. With the
/// backoff above, an engine that crashes at once gets here in 26 s, one that takes three seconds to
/// crash in 53 s.
const STORM_STARTS: usize = 10;
/// See [`STORM_STARTS`].
const STORM_WINDOW: Duration = Duration::from_secs(60);
/// An engine that was ready for so long has recovered from what ailed it.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Another start after this time.
    RetryAfter(Duration),
    /// None.
    Storm { starts: usize, within: Duration },
}

/// The starts of one engine.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    /// The latest, oldest first; at most [`STORM_STARTS`].
    recent: VecDeque<Instant>,
    /// Since it was last stable.
    failures: u32,
    total: u64,
}

impl Restarts {
    /// How often it was started after the first time.
    pub(super) fn count(&self) -> u64 {
        self.total.saturating_sub(1)
    }

    pub(super) fn started(&mut self, now: Instant) {
        self.total += 1;
        if self.recent.len() == STORM_STARTS {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
    }

    /// It is started because somebody needs it, and not because something was wrong.
    pub(super) fn woken(&mut self, now: Instant) {
        self.forgive();
        self.recent.push_back(now);
        self.total = self.total.max(1);
    }

    /// It was started by somebody before us.
    pub(super) fn adopted(&mut self) {
        self.total += 1;
    }

    pub(super) fn start_was_refused(&mut self) {
        self.recent.pop_back();
        self.total = self.total.saturating_sub(1);
    }

    pub(super) fn was_ready_for(&mut self, time: Duration) {
        if time >= STABLE_AFTER {
            self.forgive();
        }
    }

    /// What was is no sign of what comes.
    pub(super) fn forgive(&mut self) {
        self.failures = 0;
        self.recent.clear();
    }

    pub(super) fn failed(&mut self, now: Instant) -> Verdict {
        let is_storm = self.recent.len() == STORM_STARTS
            && (self.recent.front())
                .is_some_and(|&first| now.saturating_duration_since(first) <= STORM_WINDOW);
        if is_storm {
            return Verdict::Storm {
                starts: STORM_STARTS,
                within: STORM_WINDOW,
            };
        }
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        Verdict::RetryAfter(FIRST_BACKOFF.saturating_mul(factor).min(MAX_BACKOFF))
    }
}
