//! The metrics registry of a process.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use prometheus_client::{encoding::text::encode, metrics::info::Info, registry::Registry};

use crate::{lossy::LINES_DROPPED, process::Process};

/// The `Content-Type` of [`Metrics::render`].
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a process. Clones share one registry.
///
/// Registering and rendering take the lock; counting does not.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// The `Content-Type` of [`render`](Self::render).
    pub const CONTENT_TYPE: &'static str = CONTENT_TYPE;

    /// A registry with the metrics of every process: `build_info` (program and version),
    /// `llorch_log_lines_dropped` (log lines that could not be written), and `process_…` (what the
    /// system reports about the process).
    #[must_use]
    pub fn new(name: &'static str, version: &'static str) -> Self {
        let mut registry = Registry::default();
        registry.register(
            "build",
            "The program and its version",
            Info::new([("name", name), ("version", version)]),
        );
        registry.register(
            "llorch_log_lines_dropped",
            "Log lines that could not be written",
            LINES_DROPPED.clone(),
        );
        registry.register_collector(Box::new(Process::starting()));
        Self {
            registry: Arc::new(Mutex::new(registry)),
        }
    }

    /// Registers metrics: `add` gets the registry.
    pub fn register<R>(&self, add: impl FnOnce(&mut Registry) -> R) -> R {
        add(&mut self.registry.lock())
    }

    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry.lock()).is_err() {
            // Writing to a String cannot fail, so the encoder of a metric did. A partial page would
            // be misread.
            tracing::error!("a metric cannot be encoded");
            text.clear();
        }
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

    use super::*;

    #[test]
    fn renders_what_was_registered() {
        let metrics = Metrics::new("orchestratord", "0.1.0");
        let (served, live): (Counter, Gauge) = Default::default();
        metrics.register(|registry| {
            registry.register("served", "Requests served", served.clone());
            registry.register("live", "Requests running", live.clone());
        });
        served.inc_by(3);
        live.set(-2);
        let text = metrics.render();
        for line in [
            r#"build_info{name="orchestratord",version="0.1.0"} 1"#,
            "# TYPE served counter",
            "served_total 3",
            "live -2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
