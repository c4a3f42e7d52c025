//! Logs and metrics set-up shared by the daemons.
//!
//! [`init`] sends `tracing` events to stderr, as text for people or as JSON for collectors.
//! [`Metrics`] is the process's registry in the OpenMetrics format.
//!
//! ```
//! use prometheus_client::metrics::counter::Counter;
//! use telemetry::Metrics;
//!
//! let metrics = Metrics::new("demo", env!("CARGO_PKG_VERSION"));
//! let served: Counter = Counter::default();
//! metrics.register(|registry| registry.register("demo_served", "Requests served", served.clone()));
//! served.inc();
//! assert!(metrics.render().contains("demo_served_total 1"));
//! ```

mod gauges;
mod histogram;
mod logs;
mod lossy;
mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
mod process;
mod spans;
mod trace_context;

pub use gauges::{counter, gauge, gauges};
pub use histogram::{Histogram, LATENCY_SECONDS, TOKEN_GAP_SECONDS};
pub use logs::{Exporting, InitError, LogFormat, LogFormatError, Service, init, init_for};
pub use metrics::Metrics;
pub use spans::{REQUEST, continue_trace, trace_of};
pub use trace_context::{TRACEPARENT, TraceContext};
// Whoever registers metrics needs the very same version of these types.
pub use prometheus_client;

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
