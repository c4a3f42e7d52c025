//! The spans of a request, and their trace.
//!
//! They are at DEBUG and have their own target. At the default level of the daemons they are
//! neither created nor formatted: a disabled span costs a comparison, an enabled one a microsecond
//! and more per request, even if no line is logged in it. So a line at INFO or above names its
//! request itself; the spans are for debugging.

use http::HeaderMap;
use tracing::Span;

use crate::trace_context::TraceContext;

/// Makes `span` a child of the trace in `headers`, if spans are exported. Call it before entering
/// the span.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    #[cfg(feature = "otlp")]
    crate::otlp::continue_trace(span, headers);
    #[cfg(not(feature = "otlp"))]
    let _ = (span, headers);
}

/// The trace context of `span`, if it is exported: the parent of the next step.
#[must_use]
pub fn trace_of(span: &Span) -> Option<TraceContext> {
    #[cfg(feature = "otlp")]
    return crate::otlp::trace_of(span);
    #[cfg(not(feature = "otlp"))]
    {
        let _ = span;
        None
    }
}
