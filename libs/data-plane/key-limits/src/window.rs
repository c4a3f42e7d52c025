//! What was counted in the last minute, by the second.

// Clients choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::time::Duration;

/// The seconds that may hold something of the last minute: its first one is cut.
const COUNTS: usize = 61;
const SECONDS: u64 = COUNTS as u64;

/// A count for each of the last 61 seconds. Their sum is at least the count of the last minute.
#[derive(Debug, Clone)]
pub(crate) struct MinuteWindow {
    seconds: [u64; COUNTS],
    /// The last second that was looked at.
    now: u64,
    total: u64,
}

impl Default for MinuteWindow {
    fn default() -> Self {
        Self {
            seconds: [0; COUNTS],
            now: 0,
            total: 0,
        }
    }
}

impl MinuteWindow {
    /// Forgets what is older than a minute. Time that goes back stands still.
    pub(crate) fn advance(&mut self, now: Duration) {
        let second = now.as_secs();
        if second.saturating_sub(self.now) >= SECONDS {
            self.seconds = [0; COUNTS];
            self.total = 0;
            self.now = second;
        }
        while self.now < second {
            self.now = self.now.saturating_add(1);
            let old = std::mem::take(self.at(self.now));
            self.total = self.total.saturating_sub(old);
        }
    }

    /// Counts `amount` in the second of the last [`advance`](Self::advance).
    pub(crate) fn add(&mut self, amount: u64) {
        let count = self.at(self.now);
        *count = count.saturating_add(amount);
        self.total = self.total.saturating_add(amount);
    }

    /// Counts one less in the second of `then`, if that is not forgotten.
    pub(crate) fn take_back(&mut self, then: Duration) {
        let second = then.as_secs();
        if second > self.now || second < self.oldest() || self.count(second) == 0 {
            return;
        }
        let count = self.at(second);
        *count = count.saturating_sub(1);
        self.total = self.total.saturating_sub(1);
    }

    /// All that is counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// How long until less than `limit` is counted, if nothing is added.
    pub(crate) fn below_in(&self, limit: u64, now: Duration) -> Duration {
        let mut left = self.total;
        for second in self.oldest()..=self.now {
            if left < limit {
                break;
            }
            left = left.saturating_sub(self.count(second));
            if left < limit {
                return gone_at(second).saturating_sub(now);
            }
        }
        Duration::ZERO
    }

    /// How long until nothing is counted, if nothing is added.
    pub(crate) fn empty_in(&self, now: Duration) -> Duration {
        let mut seconds = (self.oldest()..=self.now).rev();
        let newest = seconds.find(|second| self.count(*second) > 0);
        newest.map_or(Duration::ZERO, |second| gone_at(second).saturating_sub(now))
    }

    fn oldest(&self) -> u64 {
        self.now.saturating_sub(SECONDS.saturating_sub(1))
    }

    fn count(&self, second: u64) -> u64 {
        let index = usize::try_from(second % SECONDS).unwrap_or_default();
        self.seconds.get(index).copied().unwrap_or_default()
    }

    fn at(&mut self, second: u64) -> &mut u64 {
        // The remainder is below 61, so every index exists.
        let index = usize::try_from(second % SECONDS).unwrap_or_default();
        &mut self.seconds[index]
    }
}

/// When the count of a second is forgotten.
fn gone_at(second: u64) -> Duration {
    Duration::from_secs(second.saturating_add(SECONDS))
}
