//! What is noted of one request on its way, and told when it is over.
//!
//! One record goes with each request, from its arrival to the end of its answer's body. What it
//! notes are plain fields of its own; it tells them to the metrics when the request ends, and of a
//! stream once a second, so that nothing shared is touched for a token.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use admission::Lease;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_server::RequestId;
use memchr::memmem;
use pool_registry_types::ErrorCode;
use routing_table::EndpointKey;
use telemetry::{TRACEPARENT, TraceContext};
use tokio::time::Instant;
use tracing::{Span, field};

use crate::{
    GatewayMetrics,
    about::About,
    dialect::Dialect,
    journey::Journey,
    metrics::{Outcome, Series},
    reply::Fault,
    route::Route,
    traffic::{RecentError, Seen, concerns_operators},
};

/// The target of the line that each request has: `RUST_LOG=info,access=off` leaves it out.
const ACCESS: &str = "access";
/// A running stream tells what it has noted so often: a stream of minutes shall be seen while it
/// runs.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Times between events that are noted before they are told: at sixty tokens a second, about a
/// second's.
const GAPS: usize = 64;
/// Events of a stream that are no tokens at the most: its role, its count, its end. So many are not
/// told before the end, when the engine may have told a count.
const NOT_TOKENS: u64 = 3;

/// What a client's tracer adds to `traceparent`.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// One request's record. Told when it is dropped; without a word about its end, the client left.
#[derive(Default)]
pub(crate) struct Record(Option<Box<Open>>);

struct Open {
    metrics: GatewayMetrics,
    route: Route,
    request_id: Option<RequestId>,
    trace: Option<TraceContext>,
    model: Option<String>,
    /// Where it is, or was last.
    place: Option<EndpointKey>,
    /// Around all that is done for it; off by default.
    span: Span,
    started: Instant,
    queued: Duration,
    series: Option<Arc<Series>>,
    /// It holds a slot.
    is_running: bool,
    // In a box: most of a record would be this, and most records have none.
    stream: Option<Box<Stream>>,
    /// The engine's own count of generated tokens.
    counted: Option<u64>,
    outcome: Outcome,
    /// Why it was not served, for its client.
    fault: Option<(ErrorCode, String)>,
}

/// What is noted of a stream.
struct Stream {
    events: u64,
    /// Tokens that were told already.
    told: u64,
    first: Option<Instant>,
    last: Instant,
    told_at: Instant,
    gaps_us: [u32; GAPS],
    gaps: usize,
}

impl Record {
    /// A request has come.
    pub(crate) fn begin(
        metrics: &GatewayMetrics,
        route: Route,
        request_id: Option<RequestId>,
        headers: &HeaderMap,
    ) -> Self {
        metrics.began();
        let span = tracing::debug_span!(
            target: telemetry::REQUEST,
            "request",
            otel.kind = "server",
            otel.status_code = field::Empty,
            request_id = request_id.as_ref().map(RequestId::as_str),
            endpoint = route.path,
            model = field::Empty,
            node = field::Empty,
            pool = field::Empty,
            replica = field::Empty,
            outcome = field::Empty,
            code = field::Empty,
            tokens = field::Empty,
        );
        telemetry::continue_trace(&span, headers);
        Self(Some(Box::new(Open {
            metrics: metrics.clone(),
            route,
            request_id,
            trace: None,
            model: None,
            place: None,
            span,
            started: Instant::now(),
            queued: Duration::ZERO,
            series: None,
            is_running: false,
            stream: None,
            counted: None,
            outcome: Outcome::Cancelled,
            fault: None,
        })))
    }

    /// Goes on elsewhere; nothing is left here to be told.
    pub(crate) fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// What is done for it is done in this span.
    pub(crate) fn span(&self) -> Span {
        self.0
            .as_ref()
            .map_or_else(Span::none, |open| open.span.clone())
    }

    /// What it is called, for who serves it.
    pub(crate) fn request_id(&self) -> Option<HeaderValue> {
        let open = self.0.as_ref()?;
        open.request_id.as_ref().map(RequestId::header_value)
    }

    /// What a line in the log is to say of it.
    pub(crate) fn about(&self) -> About<'_> {
        self.0
            .as_ref()
            .map_or_else(About::default, |open| open.about())
    }

    /// It is for this model, whoever serves it.
    pub(crate) fn asked(&mut self, model: &str) {
        if let Some(open) = &mut self.0 {
            if !open.span.is_disabled() {
                open.span.record("model", model);
            }
            open.model = Some(model.to_owned());
        }
    }

    /// It goes on as the next step of the trace that its client began, or of a new one.
    /// The header that says so.
    pub(crate) fn trace(&mut self, headers: &mut HeaderMap) -> Option<(HeaderName, HeaderValue)> {
        let open = self.0.as_mut()?;
        let from_client = headers
            .get(TRACEPARENT)
            .and_then(|value| value.to_str().ok());
        let theirs = from_client.and_then(TraceContext::parse);
        let exported = telemetry::trace_of(&open.span);
        let ours = match (theirs, exported) {
            (Some(_), Some(exported)) => exported,
            (Some(theirs), None) => theirs.child(),
            (None, exported) => {
                // It belongs to a trace that there is not.
                headers.remove(TRACESTATE);
                exported.unwrap_or_default()
            }
        };
        open.trace = Some(ours);
        let value = HeaderValue::from_bytes(&ours.to_header()).ok()?;
        Some((TRACEPARENT, value))
    }

    /// It has got a slot.
    pub(crate) fn placed(&mut self, lease: &Lease, journey: &Journey) {
        let Some(open) = &mut self.0 else { return };
        let endpoint = lease.endpoint();
        // Of an endpoint that names no models, a name is only its client's word.
        let is_known = endpoint
            .models()
            .is_some_and(|models| models.contains(&journey.model));
        open.leave();
        open.queued = journey.queued;
        open.place = Some(endpoint.key().clone());
        open.record_place();
        open.series = is_known.then(|| open.metrics.series(&journey.model, endpoint.key()));
        if let Some(series) = &open.series {
            series.running.inc();
            open.is_running = true;
        }
    }

    /// Its answer comes from the endpoint of `lease`, which may be another one than was chosen.
    pub(crate) fn served_by(&mut self, lease: &Lease, journey: &Journey) {
        let place = self.0.as_ref().and_then(|open| open.place.as_ref());
        if place.is_some_and(|place| place != lease.endpoint().key()) {
            self.placed(lease, journey);
        }
    }

    /// Its try came to nothing, and there will be another.
    pub(crate) fn retried(&mut self) {
        if let Some(open) = &mut self.0 {
            open.leave();
            open.metrics.retried();
        }
    }

    /// A stream of events begins.
    pub(crate) fn streams(&mut self) {
        if let Some(open) = &mut self.0 {
            let now = Instant::now();
            open.stream = Some(Box::new(Stream {
                events: 0,
                told: 0,
                first: None,
                last: now,
                told_at: now,
                gaps_us: [0; GAPS],
                gaps: 0,
            }));
        }
    }

    /// Whole events of its stream pass.
    pub(crate) fn events(&mut self, events: &[u8]) {
        let Some(open) = &mut self.0 else { return };
        let Some(stream) = &mut open.stream else {
            return;
        };
        let now = Instant::now();
        stream.pass(events, now);
        if let Some(count) = token_count(open.route.dialect, events) {
            open.counted = Some(count);
        }
        if stream.is_to_be_told() {
            open.tell_stream(now);
        }
    }

    /// The whole answer is there.
    pub(crate) fn whole(&mut self, answer: &[u8]) {
        if let Some(open) = &mut self.0 {
            open.counted = token_count(open.route.dialect, answer);
        }
    }

    /// It was served.
    pub(crate) fn served(&mut self) {
        if let Some(open) = &mut self.0 {
            open.outcome = Outcome::Served;
        }
    }

    /// Its answer broke off, and its client was told why.
    pub(crate) fn broke_off(&mut self, code: ErrorCode, message: &str) {
        if let Some(open) = &mut self.0 {
            open.outcome = Outcome::Broken;
            open.fault = Some((code, message.to_owned()));
        }
    }

    /// It was refused. `is_known` tells whether somebody serves the model it is for.
    pub(crate) fn refused(&mut self, fault: &Fault, is_known: impl FnOnce(&str) -> bool) {
        let Some(open) = &mut self.0 else { return };
        open.outcome = Outcome::Refused;
        open.fault = Some((fault.code, fault.message.clone()));
        if let Some((_, queued_ms)) = fault.spent {
            open.queued = Duration::from_millis(queued_ms);
        }
        if open.series.is_none() {
            let model = open.model.as_deref().filter(|model| is_known(model));
            open.series = Some(Arc::new(open.metrics.nowhere(model)));
        }
    }
}

impl Stream {
    fn pass(&mut self, events: &[u8], now: Instant) {
        self.events = self.events.saturating_add(count(events));
        if self.first.is_none() {
            self.first = Some(now);
        } else if let Some(gap) = self.gaps_us.get_mut(self.gaps) {
            *gap = micros(now.saturating_duration_since(self.last));
            self.gaps = self.gaps.saturating_add(1);
        }
        self.last = now;
    }

    fn is_to_be_told(&self) -> bool {
        self.gaps == GAPS || self.last.saturating_duration_since(self.told_at) >= TELL_EVERY
    }
}

impl Open {
    fn about(&self) -> About<'_> {
        About {
            request_id: self.request_id.as_ref(),
            model: self.model.as_deref(),
            place: self.place.as_ref(),
        }
    }

    fn record_place(&self) {
        if self.span.is_disabled() {
            return;
        }
        let about = self.about();
        self.span.record("node", about.node());
        self.span.record("pool", about.pool());
        self.span.record("replica", about.replica());
    }

    /// What is left to say of it in its span.
    fn record_end(&self, tokens: u64) {
        if self.span.is_disabled() {
            return;
        }
        self.span.record("outcome", self.outcome.as_str());
        self.span.record("tokens", tokens);
        if let Some((code, _)) = &self.fault {
            self.span.record("code", code.as_str());
            self.span.record("otel.status_code", "ERROR");
        }
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.is_running)
            && let Some(series) = &self.series
        {
            series.running.dec();
        }
    }

    /// Tells what a running stream has noted.
    fn tell_stream(&mut self, now: Instant) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let tokens = stream
            .events
            .saturating_sub(NOT_TOKENS)
            .saturating_sub(stream.told);
        stream.told = stream.told.saturating_add(tokens);
        stream.told_at = stream.last;
        let gaps_us = stream.gaps_us.get(..stream.gaps).unwrap_or_default();
        if let Some(series) = &self.series {
            series.tokens.inc_by(tokens);
            for gap in gaps_us {
                series.token_gap.observe_micros(u64::from(*gap));
            }
        }
        let seen = Seen {
            tokens,
            gaps_us,
            ..Seen::default()
        };
        self.metrics.saw(&seen, now);
        stream.gaps = 0;
    }

    /// The one line in the log that every request has. Nothing of what it said or was answered is
    /// in it.
    fn log(&self, first: Option<Duration>, total: Duration) {
        let about = self.about();
        tracing::info!(
            target: ACCESS,
            request_id = about.request_id(),
            trace_id = self.trace.as_ref().map(|trace| tracing::field::display(trace.trace_id())),
            endpoint = self.route.path,
            model = about.model,
            node = about.node(),
            pool = about.pool(),
            replica = about.replica(),
            outcome = self.outcome.as_str(),
            code = self.fault.as_ref().map(|(code, _)| code.as_str()),
            tokens = self.tokens(),
            queue_ms = millis(self.queued),
            first_token_ms = first.map(millis),
            total_ms = millis(total),
            "request"
        );
    }

    /// All generated tokens, as far as is known.
    fn tokens(&self) -> u64 {
        let told = self.stream.as_ref().map_or(0, |stream| stream.told);
        told.saturating_add(self.rest())
    }

    /// Tokens that were not told yet.
    fn rest(&self) -> u64 {
        let Some(stream) = &self.stream else {
            return self.counted.unwrap_or(0);
        };
        let has_end = self.outcome == Outcome::Served && self.route.dialect != Dialect::Plain;
        let seen = stream.events.saturating_sub(u64::from(has_end));
        self.counted.unwrap_or(seen).saturating_sub(stream.told)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let now = Instant::now();
        let total = now.saturating_duration_since(self.started);
        self.leave();
        self.tell_stream(now);
        let series = self
            .series
            .take()
            .unwrap_or_else(|| Arc::new(self.metrics.nowhere(None)));
        let first = self.stream.as_ref().and_then(|stream| stream.first);
        let first = first.map(|first| first.saturating_duration_since(self.started));
        let queued = self.place.as_ref().map(|_| self.queued);
        let tokens = self.rest();
        self.log(first, total);
        self.record_end(self.tokens());
        series.tokens.inc_by(tokens);
        series.duration.observe(total);
        queued
            .into_iter()
            .for_each(|queued| series.queue_wait.observe(queued));
        first
            .into_iter()
            .for_each(|first| series.first_token.observe(first));
        let fault = self
            .fault
            .take()
            .filter(|(code, _)| concerns_operators(*code));
        let seen = Seen {
            ended: Some(fault.is_some()),
            tokens,
            first_token_us: first.map(micros),
            queued_us: queued.map(micros),
            gaps_us: &[],
        };
        self.metrics.saw(&seen, now);
        self.metrics.ended(self.route.path, &series, self.outcome);
        if let Some((code, message)) = fault {
            self.metrics.failed(RecentError {
                at: String::new(),
                request_id: self
                    .request_id
                    .as_ref()
                    .map(RequestId::to_string)
                    .unwrap_or_default(),
                code,
                message,
                model: self.model.take(),
                node_id: self.place.take().map(|place| place.node),
            });
        }
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Record")
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// How many events these whole ones are.
fn count(events: &[u8]) -> u64 {
    static END: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("\n\n"));

    let ends = END.find_iter(events).count();
    u64::try_from(ends).unwrap_or(u64::MAX).max(1)
}

/// The engine's own count of generated tokens, where it is told here. One that no answer can have
/// is not believed.
fn token_count(dialect: Dialect, text: &[u8]) -> Option<u64> {
    // In a model's own words the quotes would be escaped.
    static OPENAI: LazyLock<memmem::Finder<'static>> =
        LazyLock::new(|| memmem::Finder::new(r#""completion_tokens":"#));
    static OTHERS: LazyLock<memmem::Finder<'static>> =
        LazyLock::new(|| memmem::Finder::new(r#""output_tokens":"#));

    let finder = match dialect {
        Dialect::Completions => &*OPENAI,
        Dialect::Responses | Dialect::Messages => &*OTHERS,
        Dialect::Plain => return None,
    };
    let at = finder.find(text)?.saturating_add(finder.needle().len());
    let digits = text.get(at..)?.trim_ascii_start();
    let end = digits
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(digits.len());
    let count: u32 = std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()?;
    Some(count.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SEE-21
    #[test]
    fn an_engines_count_is_found_and_a_models_words_are_not() {
        for (dialect, text, expected) in [
            (
                Dialect::Completions,
                r#"{"usage":{"completion_tokens": 8,"prompt_tokens":3}}"#,
                Some(8),
            ),
            (
                Dialect::Completions,
                r#"{"usage":{"completion_tokens":12}}"#,
                Some(12),
            ),
            (
                Dialect::Completions,
                r#"{"content":"\"completion_tokens\":9"}"#,
                None,
            ),
            (Dialect::Completions, r#"{"usage":null}"#, None),
            (
                Dialect::Completions,
                r#"{"usage":{"completion_tokens":4294967296}}"#,
                None,
            ),
            (
                Dialect::Completions,
                r#"{"usage":{"completion_tokens":18446744073709551615}}"#,
                None,
            ),
            (
                Dialect::Completions,
                r#"{"usage":{"completion_tokens":99999999999999999999999}}"#,
                None,
            ),
            (
                Dialect::Messages,
                r#"{"usage":{"output_tokens":5}}"#,
                Some(5),
            ),
            (Dialect::Plain, r#"{"completion_tokens":5}"#, None),
        ] {
            assert_eq!(token_count(dialect, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn events_are_counted() {
        assert_eq!(count(b"data: 1\n\n"), 1);
        assert_eq!(count(b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n"), 3);
        assert_eq!(count(b"data: 1\r\n\r\n"), 1);
    }
}
