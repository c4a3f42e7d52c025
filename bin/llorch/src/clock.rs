//! The only file that reads the clock and sleeps. The program measures and awaits a server, which a
//! paused clock does not reach.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// The time until then; `None` when it is over.
pub(crate) fn left(end_ms: u64, now: u64) -> Option<String> {
    let left = end_ms.checked_sub(now).filter(|left| *left > 0)?;
    let whole = Duration::from_secs(left.div_ceil(1000));
    Some(humantime::format_duration(whole).to_string())
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
