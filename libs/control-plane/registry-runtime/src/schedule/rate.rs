//! A rate limit with a burst.

use std::time::Duration;

use tokio::time::Instant;

/// A leaky bucket with a virtual clock. Each item moves the clock by its share of a second.
#[derive(Debug)]
pub(super) struct Rate {
    each: Duration,
    /// How far the clock may be ahead of time.
    burst: Duration,
    clock: Instant,
}

impl Rate {
    pub(super) fn new(per_second: u32, burst: usize, now: Instant) -> Self {
        let each = Duration::from_secs(1) / per_second.max(1);
        Self {
            each,
            burst: each.saturating_mul(u32::try_from(burst.saturating_sub(1)).unwrap_or(u32::MAX)),
            clock: now,
        }
    }

    /// When the next item may be taken.
    pub(super) fn allows_at(&self) -> Instant {
        self.clock.checked_sub(self.burst).unwrap_or(self.clock)
    }

    pub(super) fn take(&mut self, now: Instant) {
        self.clock = self.clock.max(now) + self.each;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: LIVE-35
    #[test]
    fn a_burst_and_then_a_fixed_rate() {
        let start = Instant::now();
        let mut now = start;
        let mut rate = Rate::new(500, 64, start);
        let mut taken = Vec::new();
        while now < start + Duration::from_secs(2) {
            now = now.max(rate.allows_at());
            rate.take(now);
            taken.push(now);
        }
        assert!(
            taken[63] == start && taken[64] > start,
            "{:?}",
            &taken[60..70]
        );
        assert!((1063..=1066).contains(&taken.len()), "{}", taken.len());
        // An unused pause allows one burst.
        now += Duration::from_secs(60);
        let together = std::iter::from_fn(|| (rate.allows_at() <= now).then(|| rate.take(now)));
        assert_eq!(together.count(), 64);
    }
}
