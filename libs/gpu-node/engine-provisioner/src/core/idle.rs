//! Whether nobody has needed an engine for long enough. Pure.

use std::time::Duration;

use pool_registry::PoolUsage;
use tokio::time::Instant;

/// How many looks there are until an engine sleeps. It sleeps that much later than it could.
const LOOKS: u32 = 8;

/// How its pool was used, as far as was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Idle {
    after: Duration,
    since: Instant,
    claims: Option<u64>,
    look_at: Instant,
}

impl Idle {
    /// Of an engine that is ready now and sleeps `after` so much time without use.
    pub(super) fn new(after: Duration, now: Instant) -> Self {
        Self {
            after,
            since: now,
            claims: None,
            look_at: now,
        }
    }

    /// When to look next.
    pub(super) fn look_at(&self) -> Instant {
        self.look_at
    }

    /// A look is under way.
    pub(super) fn looks(&mut self, now: Instant) {
        self.look_at = now + self.after / LOOKS;
    }

    /// Takes in what was seen. True when it is time to sleep.
    pub(super) fn looked(&mut self, usage: PoolUsage, now: Instant) -> bool {
        let claims = self.claims.replace(usage.claims);
        if usage.running > 0 || claims.is_some_and(|before| before != usage.claims) {
            self.since = now;
        }
        now.saturating_duration_since(self.since) >= self.after
    }
}
