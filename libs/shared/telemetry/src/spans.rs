//! The spans of a request, and the trace that they are a part of.
//!
//! They are at DEBUG and have a target of their own. At the level that daemons have by default
//! nobody makes, enters or formats one: it costs a comparison where a span that is always on costs
//! a microsecond and more, for each request, and its fields are formatted whether or not a line is
//! ever logged in it. So a line at INFO or above that is about a request says itself about
//! which; the spans are for whoever looks closer.

use http::HeaderMap;
use tracing::Span;

use crate::TraceContext;

/// The target of the spans `request`, `admission`, `placement`, `dispatch` and `stream`:
/// `RUST_LOG=info,request=debug` puts them around the lines of a request.
pub const REQUEST: &str = "request";

/// Makes `span` a step of the trace that `headers` tell of, if spans are exported. To be called
/// before it is entered.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    #[cfg(feature = "otlp")]
    crate::otlp::continue_trace(span, headers);
    #[cfg(not(feature = "otlp"))]
    let _ = (span, headers);
}

/// The place of `span` in its trace, if it is exported: what comes next is a step after it.
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
