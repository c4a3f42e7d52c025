//! How durations are spread, finely enough for percentiles and small enough to keep one for each
//! second.

use std::time::Duration;

use serde::Serialize;

/// Each power of two is cut in so many parts: a percentile is at most 7 % beside the truth.
const PARTS: u64 = 1 << PART_BITS;
const PART_BITS: u32 = 3;
/// Up to 2^32 µs, which is 71 minutes; what is longer counts as that.
const BUCKETS: usize = (32 - PART_BITS as usize + 1) << PART_BITS;

/// Durations in buckets that grow with them.
#[derive(Debug, Clone)]
pub(crate) struct Spread {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
            total: 0,
        }
    }
}

/// Three percentiles, in milliseconds; absent when nothing was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of them were at most this.
    pub p50: Option<f64>,
    /// Nine of ten.
    pub p90: Option<f64>,
    /// 99 of a hundred.
    pub p99: Option<f64>,
}

impl Spread {
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

    /// The middle of the bucket in which so many of a hundred are reached, in milliseconds.
    fn at(&self, percent: u64) -> Option<f64> {
        if self.total == 0 {
            return None;
        }
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                let middle = Duration::from_micros((lowest(bucket) + lowest(bucket + 1)) / 2);
                return Some(middle.as_secs_f64() * 1000.0);
            }
        }
        None
    }
}

/// Below 8 µs each has its own; above, three bits after the first decide.
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
    fn nothing_seen_has_no_percentiles() {
        assert_eq!(Spread::default().percentiles(), Percentiles::default());
    }

    // spec: SEE-2
    #[test]
    fn percentiles_of_a_hundred() {
        let mut spread = Spread::default();
        for millis in 1..=100 {
            spread.add(millis * 1000);
        }
        let Percentiles { p50, p90, p99 } = spread.percentiles();
        for (found, truth) in [(p50, 50.0), (p90, 90.0), (p99, 99.0)] {
            let found = found.unwrap();
            assert!((found - truth).abs() <= 0.07 * truth, "{found} for {truth}");
        }
        spread.clear();
        assert_eq!(spread.percentiles(), Percentiles::default());
    }

    proptest! {
        #[test]
        fn a_duration_is_in_its_bucket(micros in any::<u32>()) {
            let bucket = bucket(micros);
            prop_assert!(bucket < BUCKETS);
            prop_assert!(lowest(bucket) <= u64::from(micros) && u64::from(micros) < lowest(bucket + 1));
        }
    }
}
