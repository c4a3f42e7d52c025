//! How long a new request would wait, and when a refused one should retry.

use std::time::Duration;

use placement::PlacementError;

use super::AdmissionCore;
use crate::request::{Priority, RoutingPreference, WaitEstimate};

/// The shortest `Retry-After`. Less would make clients poll in a busy loop.
const MIN_RETRY_AFTER: Duration = Duration::from_millis(100);
/// The longest `Retry-After`. A longer estimate is a guess.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// The assumed service time of a request until the first one has finished.
const ASSUMED_SERVICE_SECS: f64 = 1.0;
/// The shortest service time in estimates: a mean of zero must not yield an infinite rate.
const SHORTEST_SERVICE_SECS: f64 = 0.001;

impl<W> AdmissionCore<W> {
    /// How long a new request for `model` would wait.
    pub(crate) fn estimate_wait(
        &mut self,
        model: &str,
        priority: Priority,
        now: Duration,
    ) -> WaitEstimate {
        self.apply_deadlines(now);
        let queue = self.queues.get(model);
        let ahead = queue.map_or(0, |queue| queue.ahead_of_new(priority));
        let choice = self.choose_endpoint(model, &RoutingPreference::default(), &[]);
        let rate = match choice {
            Err(PlacementError::UnknownModel | PlacementError::NoneRoutable) => None,
            Ok(_) | Err(PlacementError::Full) => self.freed_slots_per_second(model),
        };
        WaitEstimate {
            is_free: choice.is_ok() && ahead == 0,
            ahead,
            // A tiny rate may have an inverse that is too long for a duration.
            time_per_request: rate
                .and_then(|per_second| Duration::try_from_secs_f64(1.0 / per_second).ok()),
        }
    }

    /// When a refused request for `model` should retry. The queue and one more request are served by
    /// then at the recent rate of freed slots, and the first pause of an endpoint is over.
    pub(crate) fn retry_after(&self, model: &str, now: Duration) -> Duration {
        let waiting = self.queues.get(model).map_or(0, |queue| queue.len());
        let Some(per_second) = self.freed_slots_per_second(model) else {
            return MAX_RETRY_AFTER;
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "a queue has far fewer than 2^52 entries"
        )]
        let seconds = (waiting as f64 + 1.0) / per_second;
        let candidates = self.table.candidates(model).iter();
        let pauses = candidates.filter_map(|&index| Some(self.slots_at(index)?.pause_left(now)));
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(MAX_RETRY_AFTER)
            .max(pauses.min().unwrap_or_default())
            .clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER)
    }

    /// The recent rate of freed slots for `model`; `None` if there are no slots.
    fn freed_slots_per_second(&self, model: &str) -> Option<f64> {
        let candidates = self.table.candidates(model).iter();
        let per_second: f64 = candidates
            .filter_map(|&index| Some((self.slots_at(index)?, self.table.report(index)?)))
            .map(|(slots, report)| {
                let service_secs = slots.service_secs.unwrap_or(ASSUMED_SERVICE_SECS);
                f64::from(report.slots_total) / service_secs.max(SHORTEST_SERVICE_SECS)
            })
            .sum();
        (per_second > 0.0).then_some(per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fixture::{S, core, idle, queued, request, take};
    use super::*;

    #[test]
    fn the_estimate_counts_earlier_requests_and_the_rate_of_slots() {
        let mut core = core(&[idle("a", 2)]);
        let free = core.estimate_wait("m", Priority::Batch, S);
        assert!(free.is_free && free.starts_in(0) == Some(Duration::ZERO));
        for _ in 0..2 {
            take(&mut core, S);
        }
        queued(core.acquire(&request("m"), S, || 1));
        let mut batch = request("m");
        batch.priority = Priority::Batch;
        queued(core.acquire(&batch, S, || 2));

        let interactive = core.estimate_wait("m", Priority::Interactive, S);
        assert_eq!((interactive.is_free, interactive.ahead), (false, 1));
        // Two slots, with an assumed second of service each.
        assert_eq!(interactive.time_per_request, Some(S / 2));
        assert_eq!(interactive.starts_in(interactive.ahead), Some(S));
        assert_eq!(core.estimate_wait("m", Priority::Batch, S).ahead, 2);
    }

    #[test]
    fn there_is_no_estimate_without_an_endpoint() {
        let mut core = core(&[idle("a", 1)]);
        let unknown = core.estimate_wait("x", Priority::Interactive, S);
        assert_eq!(
            (unknown.is_free, unknown.ahead, unknown.starts_in(0)),
            (false, 0, None)
        );
    }
}
