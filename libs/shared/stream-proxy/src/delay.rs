//! Whether an expired timeout says anything about the upstream.

use std::time::Duration;

use tokio::time::Instant;

/// A local delay of more than this fraction (one in `SIGNIFICANT_FRACTION`) of a timeout makes the
/// timeout meaningless: the upstream may have had that much less time.
const SIGNIFICANT_FRACTION: u32 = 4;

/// A healthy process on a busy machine may be this late. A smaller delay is never significant.
const TOLERATED: Duration = Duration::from_millis(250);

/// How late this process noticed, at `now`, that a timeout of length `limit` expired at `due`;
/// `None` if the delay is not significant.
///
/// A process that was stopped or got no CPU sends late and reads late. Its timers fire late, too.
pub(crate) fn own_delay(due: Instant, limit: Duration, now: Instant) -> Option<Duration> {
    let late = now.saturating_duration_since(due);
    (late > TOLERATED.max(limit / SIGNIFICANT_FRACTION)).then_some(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PATH-42
    #[test]
    fn a_late_timer_is_no_evidence() {
        let due = Instant::now() + Duration::from_secs(60);
        for (limit_ms, late_ms, is_significant) in [
            (1000, 0, false),
            (1000, 250, false),
            (1000, 251, true),
            (1000, 10_000, true),
            (10, 250, false),
            (10, 251, true),
            (8000, 2000, false),
            (8000, 2001, true),
        ] {
            let (limit, late) = (
                Duration::from_millis(limit_ms),
                Duration::from_millis(late_ms),
            );
            let delay = own_delay(due, limit, due + late);
            assert_eq!(
                delay,
                is_significant.then_some(late),
                "{limit_ms} {late_ms}"
            );
        }
        assert_eq!(
            own_delay(due, Duration::ZERO, due - Duration::from_secs(1)),
            None
        );
    }
}
