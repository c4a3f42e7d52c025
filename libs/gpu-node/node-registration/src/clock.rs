//! The monotonic clock of this crate.

use std::time::{Duration, Instant};

/// A monotonic clock that starts at zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Starts the clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "there is no async runtime here whose clock could be used; the machine takes \
                  `now` as an argument"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
