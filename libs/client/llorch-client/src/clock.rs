//! The only file that reads the clock and sleeps. The client measures and awaits another process,
//! which a paused clock does not reach.

use std::time::{Duration, Instant};

#[expect(
    clippy::disallowed_methods,
    reason = "there is no async runtime, and the measured time is real"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a server that cannot be reached sends no event to wait for"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
