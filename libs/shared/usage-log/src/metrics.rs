//! Metrics of keys since the start, read on demand.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::{log::UsageLog, totals::Usage};

/// Register it with
/// [`Registry::register_collector`](prometheus_client::registry::Registry::register_collector).
#[derive(Debug)]
pub struct UsageMetrics {
    log: UsageLog,
}

impl UsageMetrics {
    /// A collector for `log`.
    #[must_use]
    pub fn new(log: UsageLog) -> Self {
        Self { log }
    }
}

impl Collector for UsageMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        type Value = fn(&Usage) -> f64;
        let families: [(&str, &str, Value); 4] = [
            (
                "llorch_key_requests",
                "Requests of a key that an engine has got",
                |usage| float(usage.requests),
            ),
            (
                "llorch_key_input_tokens",
                "Tokens of the prompts of a key",
                |usage| float(usage.input_tokens),
            ),
            (
                "llorch_key_output_tokens",
                "Tokens that were generated for a key",
                |usage| float(usage.output_tokens),
            ),
            (
                "llorch_key_slot_seconds",
                "How long requests of a key held slots, in seconds",
                |usage| float(usage.slot_ms) / 1000.0,
            ),
        ];
        let keys = self.log.0.lock().since_start();
        for (name, help, value) in families {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (key_id, key, usage) in &keys {
                let labels = [("key_id", &**key_id), ("key", &**key)];
                let mut metric = family.encode_family(&labels)?;
                metric.encode_counter::<NoLabelSet, f64, f64>(&value(usage), None)?;
            }
        }
        Ok(())
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a counter of metrics is a floating-point number"
)]
fn float(count: u64) -> f64 {
    count as f64
}
