//! What every hop that forwards an inference request does: keep the request in its trace, drop the
//! headers that end at the hop, and cover attempts and responses with spans.
//!
//! The gateway and a node share this crate. It knows nothing about pools, models or retries.

mod headers;
mod trace;

// For `removed_request_headers`.
#[doc(hidden)]
pub use http;
#[doc(hidden)]
pub use pool_registry_types;

pub use headers::{number, remove_own_headers};
pub use trace::{continue_trace, record_result, set_trace, stream_span, trace_header, within};
