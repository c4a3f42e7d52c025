//! A histogram of durations, fine enough for percentiles and small enough to keep one per second.

use std::time::Duration;

use serde::Serialize;

/// The parts of each power of two. A percentile is off by at most 7 %.
const PARTS: u64 = 1 << PART_BITS;
const PART_BITS: u32 = 3;
/// Up to 2^32 µs, which is 71 minutes. A longer duration counts as the longest.
const BUCKETS: usize = (32 - PART_BITS as usize + 1) << PART_BITS;

/// Durations in buckets of growing width.
#[derive(Debug, Clone)]
pub(crate) struct LatencyHistogram {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
            total: 0,
        }
    }
}

/// Three percentiles in milliseconds; absent without any sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50: Option<f64>,
    /// The 90th percentile.
    pub p90: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
}

impl LatencyHistogram {
    pub(crate) fn add(&mut self, micros: u32) {
        if let Some(count) = self.counts.get_mut(bucket(micros)) {
            *count = count.saturating_add(1);
            self.total += 1;
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        if other.total == 0 {
            return;
        }
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts.iter()) {
            *mine = mine.saturating_add(*theirs);
        }
        self.total += other.total;
    }

    pub(crate) fn clear(&mut self) {
        if self.total > 0 {
            self.counts.fill(0);
            self.total = 0;
        }
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        Percentiles {
            p50: self.at(50),
            p90: self.at(90),
            p99: self.at(99),
        }
    }

    /// The middle of the bucket that holds this percentile, in milliseconds.
    fn at(&self, percent: u64) -> Option<f64> {
        if self.total == 0 {
            return None;
        }
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut passed = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            passed += u64::from(*count);
            if passed >= rank {
                let middle = Duration::from_micros((lowest(bucket) + lowest(bucket + 1)) / 2);
                return Some(middle.as_secs_f64() * 1000.0);
            }
        }
        None
    }
}

/// Each value below 8 µs has its own bucket. Above, the three bits after the first one select it.
fn bucket(micros: u32) -> usize {
    let micros = u64::from(micros);
    if micros < PARTS {
        return usize::try_from(micros).unwrap_or(0);
    }
    let shift = micros.ilog2() - PART_BITS;
    let part = (micros >> shift) - PARTS;
    usize::try_from(u64::from(shift + 1) * PARTS + part).unwrap_or(BUCKETS - 1)
}

/// The shortest duration of a bucket in microseconds.
fn lowest(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(0);
    match bucket / PARTS {
        0 => bucket,
        octave => (PARTS + bucket % PARTS) << (octave - 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;

    #[test]
    fn an_empty_histogram_has_no_percentiles() {
        assert_eq!(
            LatencyHistogram::default().percentiles(),
            Percentiles::default()
        );
    }

    // spec: SEE-2
    #[test]
    fn percentiles_of_a_hundred() {
        let mut histogram = LatencyHistogram::default();
        for millis in 1..=100 {
            histogram.add(millis * 1000);
        }
        let Percentiles { p50, p90, p99 } = histogram.percentiles();
        for (found, truth) in [(p50, 50.0), (p90, 90.0), (p99, 99.0)] {
            let found = found.unwrap();
            assert!((found - truth).abs() <= 0.07 * truth, "{found} for {truth}");
        }
        histogram.clear();
        assert_eq!(histogram.percentiles(), Percentiles::default());
    }

    proptest! {
        #[test]
        fn a_duration_is_in_its_bucket(micros in any::<u32>()) {
            let bucket = bucket(micros);
            prop_assert!(bucket < BUCKETS);
            let range = lowest(bucket)..lowest(bucket + 1);
            prop_assert!(range.contains(&u64::from(micros)));
        }
    }
}
