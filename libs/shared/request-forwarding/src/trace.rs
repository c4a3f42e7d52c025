//! The trace of a request, and the spans of its hops.

use std::{future::poll_fn, pin::Pin};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use stream_proxy::Outbound;
use telemetry::{TRACEPARENT, TraceContext, trace_of};
use tracing::Span;

/// What a client's tracer adds to `traceparent`.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace of a request with these headers: the next step of the client's trace, or a new one.
/// An exported `span` is that step.
#[must_use]
pub fn continue_trace(span: &Span, headers: &mut HeaderMap) -> TraceContext {
    let from_client = headers
        .get(TRACEPARENT)
        .and_then(|value| value.to_str().ok())
        .and_then(TraceContext::parse);
    match (from_client, trace_of(span)) {
        (Some(_), Some(exported)) => exported,
        (Some(from_client), None) => from_client.child(),
        (None, exported) => {
            // `tracestate` is meaningless without a valid `traceparent`.
            headers.remove(TRACESTATE);
            exported.unwrap_or_default()
        }
    }
}

/// The header that passes `trace` on.
#[must_use]
pub fn trace_header(trace: TraceContext) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from_bytes(&trace.to_header()).ok()?;
    Some((TRACEPARENT, value))
}

/// Makes the next hop a step after `span`, if spans are exported.
pub fn set_trace(outbound: &mut Outbound, span: &Span) {
    if let Some(trace) = trace_of(span) {
        let headers = &mut outbound.set_headers;
        headers.retain(|(name, _)| *name != TRACEPARENT);
        headers.extend(trace_header(trace));
    }
}

/// Polls `future` inside `span`, in its place. `Instrument` would move it, and each move of a large
/// future costs a copy and room for it twice in the future around it.
///
/// Its drop is not inside the span.
pub async fn within<F: Future>(span: &Span, mut future: Pin<&mut F>) -> F::Output {
    poll_fn(|cx| {
        let _entered = span.enter();
        future.as_mut().poll(cx)
    })
    .await
}

/// Records the result of an attempt in its span: the status of the response, or an error. The span
/// needs the fields `status` and `otel.status_code`.
pub fn record_result(span: &Span, status: Option<StatusCode>) {
    if span.is_disabled() {
        return;
    }
    match status {
        Some(status) => span.record("status", status.as_u16()),
        None => span.record("otel.status_code", "ERROR"),
    };
}

/// The span that covers a response from its first byte to its last; disabled by default.
#[must_use]
pub fn stream_span() -> Span {
    tracing::debug_span!(target: telemetry::REQUEST, "stream")
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_future_is_polled_within_its_span() {
        let subscriber = tracing_subscriber::registry();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("around");
            let mut future = std::pin::pin!(async { Span::current().id() });
            let seen = within(&span, future.as_mut()).now_or_never().flatten();
            assert_eq!((seen, Span::current().id()), (span.id(), None));
        });
    }

    // spec: SEE-15
    #[test]
    fn a_valid_trace_is_continued_and_another_one_is_replaced() {
        let theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for (sent, is_continued) in [
            (Some(theirs), true),
            (Some("nonsense"), false),
            (None, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
            if let Some(sent) = sent {
                headers.insert(TRACEPARENT, HeaderValue::from_static(sent));
            }
            let trace = continue_trace(&Span::none(), &mut headers);
            let is_same = trace.trace_id() == "4bf92f3577b34da6a3ce929d0e0e4736";
            assert_eq!(is_same, is_continued, "{sent:?}");
            assert_ne!(trace.to_string(), theirs, "each hop is a step of its own");
            assert_eq!(headers.contains_key(TRACESTATE), is_continued, "{sent:?}");
        }
    }
}
