//! The measurements of a run.

use std::time::Duration;

use serde::Serialize;

use crate::answer::Fault;

/// What a run measured. Rates are of the measured time; `all_…` include the warm-up and the end,
/// for those who compare with what a process used from its first request to its last.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Measured seconds.
    pub seconds: f64,
    /// Whole answers per second.
    pub answers_per_second: f64,
    /// Stream events per second.
    pub events_per_second: f64,
    /// Median time from a request to the first byte of its answer's body, in milliseconds.
    pub first_p50_ms: f64,
    /// The 99th percentile of the same.
    pub first_p99_ms: f64,
    /// Whole answers from the first request to the last.
    pub all_answers: u64,
    /// Answers that do not count, from the first request to the last.
    pub errors: u64,
    /// Why the first of them does not.
    pub first_error: Option<String>,
}

/// Counts while it runs.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) answers: u64,
    pub(crate) events: u64,
    /// Microseconds to the first byte of the body, of requests sent in the measured time.
    pub(crate) firsts: Vec<u32>,
    pub(crate) all_answers: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

impl Counters {
    pub(crate) fn fault(&mut self, fault: &Fault) {
        self.errors += 1;
        if self.first_error.is_none() {
            self.first_error = Some(fault.to_string());
        }
    }

    pub(crate) fn outcome(mut self, measured: Duration) -> Outcome {
        self.firsts.sort_unstable();
        let seconds = measured.as_secs_f64();
        Outcome {
            seconds,
            answers_per_second: self.answers as f64 / seconds,
            events_per_second: self.events as f64 / seconds,
            first_p50_ms: percentile(&self.firsts, 50),
            first_p99_ms: percentile(&self.firsts, 99),
            all_answers: self.all_answers,
            errors: self.errors,
            first_error: self.first_error,
        }
    }
}

/// Milliseconds below which `percent` of the sorted microseconds are (nearest rank); 0 of nothing.
fn percentile(sorted: &[u32], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    let micros = sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default();
    f64::from(micros) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let hundred: Vec<u32> = (1..=100).map(|n| n * 1000).collect();
        assert_eq!(
            (percentile(&hundred, 50), percentile(&hundred, 99)),
            (50.0, 99.0)
        );
        assert_eq!(
            (
                percentile(&[7000], 50),
                percentile(&[7000], 99),
                percentile(&[], 99)
            ),
            (7.0, 7.0, 0.0)
        );
    }
}
