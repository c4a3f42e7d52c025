//! The one place that reads the clock and waits: what is measured is another process, which no
//! paused clock reaches.

use std::time::{Duration, Instant};

/// The time now.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "there is no async runtime here, and what is measured is real time"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// Lets `time` pass.
#[expect(
    clippy::disallowed_methods,
    reason = "a server that cannot be reached sends no event to wait for"
)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
