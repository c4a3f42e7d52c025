//! What a request that comes now has before it, and when one that is refused is worth another try.

use std::time::Duration;

use placement::NoPlace;

use super::Core;
use crate::{Outlook, Priority, RoutingPreference};

/// The shortest wait a refused client is told: less would only be a busy loop.
const MIN_RETRY_AFTER: Duration = Duration::from_millis(100);
/// The longest: an estimate beyond it is a guess.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// What a request is assumed to take while nobody has finished one.
const ASSUMED_SERVICE_SECS: f64 = 1.0;

impl<W> Core<W> {
    /// What a request for `model` that came now would have before it.
    pub(crate) fn outlook(&mut self, model: &str, priority: Priority, now: Duration) -> Outlook {
        self.refresh(now);
        let ahead = self
            .lines
            .get(model)
            .map_or(0, |line| line.before(priority));
        let place = self.place(model, &RoutingPreference::default(), &[]);
        let pace = match place {
            Err(NoPlace::UnknownModel | NoPlace::NoneRoutable) => None,
            Ok(_) | Err(NoPlace::Full) => self.slots_per_second(model),
        };
        Outlook {
            is_free: place.is_ok() && ahead == 0,
            ahead,
            // A rate that is positive, if ever so small, has an inverse; one too long to be told is
            // not told.
            pace: pace.and_then(|per_second| Duration::try_from_secs_f64(1.0 / per_second).ok()),
        }
    }

    /// How long the line, one request longer, takes at the speed at which slots were freed lately,
    /// and not before one of the endpoints takes requests again.
    pub(crate) fn time_to_a_slot(&self, model: &str, now: Duration) -> Duration {
        let waiting = self.lines.get(model).map_or(0, |line| line.len());
        let Some(per_second) = self.slots_per_second(model) else {
            return MAX_RETRY_AFTER;
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "a queue has far fewer than 2^52 entries"
        )]
        let seconds = (waiting as f64 + 1.0) / per_second;
        let candidates = self.table.candidates(model).iter();
        let pauses = candidates.filter_map(|&index| Some(self.slot(index)?.paused_for(now)));
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(MAX_RETRY_AFTER)
            .max(pauses.min().unwrap_or_default())
            .clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER)
    }

    /// How many slots for `model` were freed in a second lately; `None` when nobody has any.
    fn slots_per_second(&self, model: &str) -> Option<f64> {
        let candidates = self.table.candidates(model).iter();
        let per_second: f64 = candidates
            .filter_map(|&index| Some((self.slot(index)?, self.table.report(index)?)))
            .map(|(slot, report)| {
                // A millisecond at least: a mean of nothing must not promise infinite speed.
                f64::from(report.slots_total)
                    / slot.service_secs.unwrap_or(ASSUMED_SERVICE_SECS).max(0.001)
            })
            .sum();
        (per_second > 0.0).then_some(per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{S, ask, core, idle, take, waits};
    use super::*;

    #[test]
    fn a_newcomer_sees_who_stands_before_it_and_how_fast_the_line_moves() {
        let mut core = core(&[idle("a", 2)]);
        let free = core.outlook("m", Priority::Batch, S);
        assert!(free.is_free && free.starts_in(0) == Some(Duration::ZERO));
        for _ in 0..2 {
            take(&mut core, S);
        }
        waits(core.arrive(&ask("m"), S, || 1));
        let mut batch = ask("m");
        batch.priority = Priority::Batch;
        waits(core.arrive(&batch, S, || 2));

        let people = core.outlook("m", Priority::Interactive, S);
        assert_eq!((people.is_free, people.ahead), (false, 1));
        // Two slots, and a second assumed for each while nobody has finished.
        assert_eq!(people.pace, Some(S / 2));
        assert_eq!(people.starts_in(people.ahead), Some(S));
        assert_eq!(core.outlook("m", Priority::Batch, S).ahead, 2);
    }

    #[test]
    fn nobody_there_to_serve_is_no_forecast() {
        let mut core = core(&[idle("a", 1)]);
        let unknown = core.outlook("x", Priority::Interactive, S);
        assert_eq!(
            (unknown.is_free, unknown.ahead, unknown.starts_in(0)),
            (false, 0, None)
        );
    }
}
