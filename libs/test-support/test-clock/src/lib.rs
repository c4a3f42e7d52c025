//! Waits for conditions outside this process.
//!
//! Other processes send no events, and no paused clock reaches them: they are polled until a
//! deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition outside this process is looked at: often enough to measure tens of
/// milliseconds, seldom enough to leave two cores to those who are waited for.
const POLL: Duration = Duration::from_millis(5);

/// The time now.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "there is no async runtime here, and nothing to pause"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// Lets `time` pass. To wait *for* something use [`wait_for`].
#[expect(
    clippy::disallowed_methods,
    reason = "a process outside can only be polled"
)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Waits until `look` finds something, and gives that back.
///
/// # Errors
/// When `deadline` passes first; the error names `what` was waited for.
pub fn wait_for_some<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T> {
    let start = now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if start.elapsed() >= deadline {
            bail!("waited {deadline:?} in vain for {what}");
        }
        pause(POLL);
    }
}

/// Waits until `holds`.
///
/// # Errors
/// When `deadline` passes first; the error names `what` was waited for.
pub fn wait_for(what: &str, deadline: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    wait_for_some(what, deadline, || holds().then_some(()))
}

/// The Rust of the README is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_what_it_waited_for_or_says_what_did_not_come() {
        let mut looks = 0;
        let found = wait_for_some("the third look", Duration::from_secs(60), || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found.unwrap(), 3);
        let error = wait_for("a miracle", Duration::ZERO, || false).unwrap_err();
        assert!(error.to_string().contains("a miracle"), "{error}");
    }
}
