//! Whether a time limit that passed says anything about the other side.

use std::time::Duration;

use tokio::time::Instant;

/// From this part of a limit on, our own delay spoils the verdict: the other side may have been
/// given that much less.
const SPOILING_PART: u32 = 4;

/// What a healthy process on a busy machine may be late by; no verdict is spoilt by less.
const HARMLESS: Duration = Duration::from_millis(250);

/// How late this process noticed, at `now`, that a limit of the length `limit` passed at `due`;
/// `None` when that was soon enough for a verdict.
///
/// A process that was stopped, or that got no processor, sends late and reads late. Its timers show
/// it: they fire late.
pub(crate) fn own_delay(due: Instant, limit: Duration, now: Instant) -> Option<Duration> {
    let late = now.saturating_duration_since(due);
    (late > HARMLESS.max(limit / SPOILING_PART)).then_some(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PATH-42
    #[test]
    fn a_timer_that_fires_late_blames_nobody() {
        let due = Instant::now() + Duration::from_secs(60);
        for (limit_ms, late_ms, spoils) in [
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
            let found = own_delay(due, limit, due + late);
            assert_eq!(found, spoils.then_some(late), "{limit_ms} {late_ms}");
        }
        assert_eq!(
            own_delay(due, Duration::ZERO, due - Duration::from_secs(1)),
            None
        );
    }
}
