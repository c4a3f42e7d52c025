//! Set-up of logs and metrics, shared by the daemons.
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
//! metrics.register(|registry| {
//!     registry.register("demo_served", "Requests served", served.clone());
//! });
//! served.inc();
//! assert!(metrics.render().contains("demo_served_total 1"));
//! ```

mod audit_file;
mod gauges;
mod histogram;
mod init_error;
mod logs;
mod lossy;
mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
mod process;
mod service;
mod span_target;
mod spans;
mod trace_context;

pub use audit_file::AuditFile;
pub use gauges::{counter, gauge, gauges};
pub use histogram::{Histogram, LATENCY_SECONDS, TOKEN_GAP_SECONDS};
pub use init_error::InitError;
pub use logs::{ExportGuard, LogFormat, LogFormatError, init, init_for};
pub use metrics::Metrics;
pub use service::Service;
pub use span_target::REQUEST;
pub use spans::{continue_trace, trace_of};
pub use trace_context::{TRACEPARENT, TraceContext};
// Code that registers metrics needs this version of the types.
pub use prometheus_client;

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
