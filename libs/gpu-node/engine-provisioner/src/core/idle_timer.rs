//! Whether a pool has been idle for long enough to scale to zero. Pure.

use std::time::Duration;

use pool_registry::PoolUsage;
use tokio::time::Instant;

/// How many checks there are in the idle time. Scaling to zero is late by one check at most.
const CHECKS: u32 = 8;

/// The observed usage of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IdleTimer {
    after: Duration,
    idle_since: Instant,
    claims: Option<u64>,
    next_check: Instant,
}

impl IdleTimer {
    /// A timer for an engine that is ready now and is scaled to zero `after` this time without use.
    pub(super) fn new(after: Duration, now: Instant) -> Self {
        Self {
            after,
            idle_since: now,
            claims: None,
            next_check: now,
        }
    }

    /// When to check next.
    pub(super) fn next_check(&self) -> Instant {
        self.next_check
    }

    /// A check has started.
    pub(super) fn check_started(&mut self, now: Instant) {
        self.next_check = now + self.after / CHECKS;
    }

    /// Applies the usage that was read. Returns true when it is time to scale to zero.
    pub(super) fn observe(&mut self, usage: PoolUsage, now: Instant) -> bool {
        let claims = self.claims.replace(usage.claims);
        if usage.running > 0 || claims.is_some_and(|before| before != usage.claims) {
            self.idle_since = now;
        }
        now.saturating_duration_since(self.idle_since) >= self.after
    }
}
