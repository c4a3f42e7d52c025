//! What a request that comes now has before it.

use std::time::Duration;

use placement::NoPlace;

use super::Core;
use crate::{Outlook, Priority, Wish};

impl<W> Core<W> {
    /// What a request for `model` that came now would have before it.
    pub(crate) fn outlook(&mut self, model: &str, priority: Priority, now: Duration) -> Outlook {
        self.refresh(now);
        let ahead = self.lines.get(model).map_or(0, |line| line.before(priority));
        let place = self.place(model, &Wish::default(), &[]);
        let pace = match place {
            Err(NoPlace::UnknownModel | NoPlace::NoneRoutable) => None,
            Ok(_) | Err(NoPlace::Full) => self.slots_per_second(model),
        };
        Outlook {
            is_free: place.is_ok() && ahead == 0,
            ahead,
            // A rate that is positive, if ever so small, has an inverse; one too long to be told is not told.
            pace: pace.and_then(|per_second| Duration::try_from_secs_f64(1.0 / per_second).ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{S, ask, core, idle, take, waits};
    use super::*;

    #[test]
    fn a_newcomer_sees_who_stands_before_it_and_how_fast_the_line_moves() {
        let mut core = core(vec![idle("a", 2)]);
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
        let mut core = core(vec![idle("a", 1)]);
        let unknown = core.outlook("x", Priority::Interactive, S);
        assert_eq!(
            (unknown.is_free, unknown.ahead, unknown.starts_in(0)),
            (false, 0, None)
        );
    }
}
