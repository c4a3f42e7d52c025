//! The only file that reads the clock and sleeps. The program measures and awaits a server, which a
//! paused clock does not reach.

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
    reason = "the server is polled, so there is no event to wait for"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
