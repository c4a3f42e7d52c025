//! Durations on the wire.

use std::time::Duration;

/// The whole milliseconds of a duration, as messages carry them.
///
/// ```
/// use std::time::Duration;
/// use pool_registry_types::millis;
/// assert_eq!(millis(Duration::from_micros(1500)), 1);
/// assert_eq!(millis(Duration::MAX), u64::MAX);
/// ```
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
