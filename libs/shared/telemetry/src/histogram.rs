//! A histogram whose observations cost two atomic additions and no lock, for the request path.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// Upper bounds in seconds for durations from milliseconds to minutes: waits, first tokens, whole
/// requests.
pub const LATENCY_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];
/// Upper bounds in seconds for the time between two tokens: 1 ms is a thousand tokens a second, 1 s
/// is a stall.
pub const TOKEN_GAP_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// Durations in buckets with fixed bounds. Clones share one histogram.
#[derive(Clone)]
pub struct Histogram(Arc<Inner>);

struct Inner {
    /// Upper bounds in seconds, rising.
    bounds: &'static [f64],
    /// The same in microseconds.
    bounds_us: Box<[u64]>,
    /// One more than there are bounds.
    counts: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

impl Histogram {
    /// An empty histogram with these upper bounds in seconds, which must rise.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        let micros =
            |seconds: &f64| Duration::try_from_secs_f64(*seconds).map_or(u64::MAX, whole_micros);
        Self(Arc::new(Inner {
            bounds,
            bounds_us: bounds.iter().map(micros).collect(),
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_us: AtomicU64::new(0),
        }))
    }

    /// Observes a duration.
    pub fn observe(&self, duration: Duration) {
        self.observe_micros(whole_micros(duration));
    }

    /// Observes a duration in microseconds.
    pub fn observe_micros(&self, micros: u64) {
        let place = self.0.bounds_us.partition_point(|bound| *bound < micros);
        if let Some(count) = self.0.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.0.sum_us.fetch_add(micros, Ordering::Relaxed);
    }
}

/// Whole microseconds, saturating.
fn whole_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Histogram").field(&self.0.counts).finish()
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds
            .zip(&self.0.counts)
            .map(|(bound, count)| (bound, count.load(Ordering::Relaxed)))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_micros(self.0.sum_us.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn counts_into_buckets_and_sums() {
        let histogram = Histogram::new(&[0.01, 1.0]);
        for millis in [1, 10, 11, 5000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let metrics = Metrics::new("test", "0");
        metrics
            .register(|registry| registry.register("wait_seconds", "A wait in seconds", histogram));
        let page = metrics.render();
        for line in [
            "# TYPE wait_seconds histogram",
            r#"wait_seconds_bucket{le="0.01"} 2"#,
            r#"wait_seconds_bucket{le="1.0"} 3"#,
            r#"wait_seconds_bucket{le="+Inf"} 4"#,
            "wait_seconds_count 4",
            "wait_seconds_sum 5.022",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} in {page}");
        }
    }

    #[test]
    fn bounds_rise() {
        for bounds in [LATENCY_SECONDS, TOKEN_GAP_SECONDS] {
            assert!(bounds.is_sorted_by(|a, b| a < b));
        }
    }
}
