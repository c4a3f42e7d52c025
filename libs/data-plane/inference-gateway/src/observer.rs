//! What is known of one request, from its arrival to the end of its response's body.
//!
//! Each fact about a request is stored here once: its model, attempts, queue time, deadline and
//! endpoint. They are plain fields. The observer reports them to the metrics and to the access log
//! when the request ends, and once a second while a stream runs, so that a token touches no shared
//! state.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::{borrow::Cow, fmt, sync::Arc};

use bearer_auth::Principal;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_server::RequestId;
use pool_registry_types::ErrorCode;
use request_forwarding::continue_trace;
use routing_table::Endpoint;
use telemetry::TraceContext;
use tokio::time::Instant;
use tracing::{Span, field};

use crate::{
    access_log::AccessLogEntry,
    dialect::Dialect,
    error::GatewayError,
    key_use::{KeyCounters, KeyRefusal, KeyUse},
    log_context::LogContext,
    metrics::{EndpointSeries, GatewayMetrics, RequestOutcome},
    retry::RetryState,
    route::Route,
    stored_responses::ResponseIdReader,
    stream_timing::{StreamTiming, micros},
    token_count::TokenCount,
    token_use::TokenUse,
    traffic::{RecentError, TrafficSample, concerns_operators},
    usage_event::without_usage,
};

/// One request. Dropping it reports the request; a request without an outcome was cancelled by its
/// client.
pub(crate) struct RequestObserver {
    /// Attempts, queue time and deadline. Has no limits until the request is read.
    pub(crate) retry: RetryState,
    metrics: GatewayMetrics,
    route: Route,
    request_id: Option<RequestId>,
    trace: Option<TraceContext>,
    /// `None` until the request is read.
    model: Option<String>,
    /// The current endpoint, or the last one.
    endpoint: Option<Arc<Endpoint>>,
    /// Covers the whole request; disabled by default.
    span: Span,
    started: Instant,
    first_token: Option<Instant>,
    tokens: TokenCount,
    /// The metrics of the model at the endpoint.
    series: Option<Arc<EndpointSeries>>,
    /// The request holds a slot, and the gauge of its series counts it.
    is_running: bool,
    outcome: RequestOutcome,
    /// Looks for the id of a response that can be asked for later.
    response_id: Option<ResponseIdReader>,
    /// What the client was told instead of a complete response.
    error: Option<(ErrorCode, Cow<'static, str>)>,
    /// `None` for a client without a key.
    key: Option<Box<KeyUse>>,
}

impl RequestObserver {
    /// A request arrived.
    pub(crate) fn start(
        metrics: &GatewayMetrics,
        route: Route,
        request_id: Option<RequestId>,
        headers: &HeaderMap,
    ) -> Self {
        metrics.request_started();
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
        Self {
            retry: RetryState::default(),
            metrics: metrics.clone(),
            route,
            request_id,
            trace: None,
            model: None,
            endpoint: None,
            span,
            started: Instant::now(),
            first_token: None,
            tokens: TokenCount::default(),
            series: None,
            is_running: false,
            outcome: RequestOutcome::Cancelled,
            response_id: None,
            error: None,
            key: None,
        }
    }

    /// Finds out whether the request has a key, and whether a limit of it is reached.
    pub(crate) fn start_key(
        &mut self,
        counters: &KeyCounters,
        principal: Option<&Principal>,
    ) -> Result<(), GatewayError> {
        let Some((key, exceeded)) = KeyUse::start(counters, principal) else {
            return Ok(());
        };
        self.key = Some(key);
        self.tokens.count_use();
        let Some(exceeded) = exceeded else {
            return Ok(());
        };
        self.metrics.limit_reached(exceeded.kind);
        Err(GatewayError::limit_exceeded(&exceeded))
    }

    /// The request has been given a slot: finds out whether its key may still use it.
    pub(crate) fn check_key_again(&mut self, counters: &KeyCounters) -> Result<(), GatewayError> {
        let Some(key) = &mut self.key else {
            return Ok(());
        };
        key.check_again(counters).map_err(|refusal| match refusal {
            KeyRefusal::Limit(exceeded) => {
                self.metrics.limit_reached(exceeded.kind);
                GatewayError::limit_exceeded(&exceeded)
            }
            KeyRefusal::NotValid(error) => {
                GatewayError::new(ErrorCode::Unauthorized, error.to_string())
            }
        })
    }

    /// Charges to the key what the request has used so far. The caller gives the slot back next.
    pub(crate) fn charge_key(&mut self) {
        let used = self.used();
        if let Some(key) = &mut self.key {
            key.charge(used);
        }
    }

    /// What the request has used. A client that leaves before the engine tells its usage, or sets a
    /// deadline before that, does not get its prompt for nothing.
    fn used(&self) -> TokenUse {
        let mut used = self.tokens.used();
        let is_cut_by_client = self.outcome == RequestOutcome::Cancelled
            || matches!(self.error, Some((ErrorCode::DeadlineExceeded, _)));
        let generates = !matches!(self.route.dialect, Dialect::Plain | Dialect::Ollama);
        if let Some(key) = &self.key
            && used.input == 0
            && is_cut_by_client
            && generates
        {
            let endpoint = self.endpoint.as_ref();
            let context = endpoint.and_then(|endpoint| endpoint.context_length());
            used.input = key.estimated_prompt(context);
        }
        used
    }

    /// The use of the request's key.
    pub(crate) fn key(&self) -> Option<&KeyUse> {
        self.key.as_deref()
    }

    /// The use of the request's key.
    pub(crate) fn key_mut(&mut self) -> Option<&mut KeyUse> {
        self.key.as_deref_mut()
    }

    /// Whole events as the client gets them.
    pub(crate) fn for_client(&self, events: Bytes) -> Bytes {
        match &self.key {
            Some(key) if key.hides_usage() => without_usage(events),
            _ => events,
        }
    }

    /// A piece of a response passed that is no stream of events.
    pub(crate) fn piece_passed(&mut self, piece: &[u8]) {
        self.tokens.piece(self.route.dialect, piece);
    }

    /// The span that covers the whole request.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// When the request arrived.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// The route of the request.
    pub(crate) fn route(&self) -> Route {
        self.route
    }

    /// The request's id.
    pub(crate) fn request_id(&self) -> Option<&RequestId> {
        self.request_id.as_ref()
    }

    /// The endpoint is remembered under the id of its response.
    pub(crate) fn find_response_id(&mut self, reader: ResponseIdReader) {
        self.response_id = Some(reader);
    }

    /// The model; empty until the request is read.
    pub(crate) fn model(&self) -> &str {
        self.model.as_deref().unwrap_or_default()
    }

    /// The retry state, once the request is read.
    pub(crate) fn retry_of_valid_request(&self) -> Option<&RetryState> {
        self.model.is_some().then_some(&self.retry)
    }

    /// What log lines say about the request.
    pub(crate) fn log_context(&self) -> LogContext<'_> {
        LogContext {
            request_id: self.request_id.as_ref(),
            model: self.model.as_deref(),
            endpoint: self.endpoint.as_ref().map(|endpoint| endpoint.key()),
        }
    }

    /// The request is read: it is valid and asks for `model`.
    pub(crate) fn read(&mut self, model: String, retry: RetryState) {
        if !self.span.is_disabled() {
            self.span.record("model", &model);
        }
        self.model = Some(model);
        self.retry = retry;
    }

    /// Makes the request a step of the client's trace, or of a new one. Returns the header that
    /// says so.
    pub(crate) fn trace(&mut self, headers: &mut HeaderMap) -> Option<(HeaderName, HeaderValue)> {
        let trace = continue_trace(&self.span, headers);
        self.trace = Some(trace);
        request_forwarding::trace_header(trace)
    }

    /// The request has a slot at `endpoint`.
    pub(crate) fn placed(&mut self, endpoint: &Arc<Endpoint>) {
        self.stop_running();
        if let Some(key) = &mut self.key {
            key.slot_taken();
        }
        self.endpoint = Some(Arc::clone(endpoint));
        self.record_endpoint();
        let model = self.model();
        // An endpoint that lists no models confirms none: clients must not make up labels.
        let is_known = endpoint
            .models()
            .is_some_and(|models| models.iter().any(|served| served == model));
        self.series = is_known.then(|| self.metrics.series(model, endpoint.key()));
        if let Some(series) = &self.series {
            series.running.inc();
            self.is_running = true;
        }
    }

    /// `endpoint` responds. It may differ from the chosen one.
    pub(crate) fn served_by(&mut self, endpoint: &Arc<Endpoint>) {
        let is_chosen = self
            .endpoint
            .as_ref()
            .is_some_and(|chosen| Arc::ptr_eq(chosen, endpoint) || chosen.key() == endpoint.key());
        if !is_chosen {
            self.placed(endpoint);
        }
    }

    /// The attempt failed, and there will be another one.
    pub(crate) fn retried(&mut self) {
        self.stop_running();
        self.metrics.request_retried();
    }

    /// Whole events of the response's stream passed.
    pub(crate) fn events_passed(&mut self, events: &[u8], timing: &mut StreamTiming) {
        if let Some(reader) = &mut self.response_id {
            let (endpoint, model) = (self.endpoint.as_ref(), self.model.as_deref());
            let goes_on = endpoint
                .zip(model)
                .is_some_and(|(endpoint, model)| reader.events(events, endpoint, model));
            if !goes_on {
                self.response_id = None;
            }
        }
        // A comment that keeps the connection alive is no token.
        if !self.tokens.events(self.route.dialect, events) {
            return;
        }
        let now = Instant::now();
        if timing.event(now) {
            self.first_token = Some(now);
        }
        if timing.is_report_due() {
            self.report_stream(timing, now);
        }
    }

    /// Reports to the metrics what a stream did since the last report.
    pub(crate) fn report_stream(&mut self, timing: &mut StreamTiming, now: Instant) {
        let tokens = self.tokens.take_running();
        let gaps_us = timing.take_gaps();
        if let Some(series) = &self.series {
            series.tokens.inc_by(tokens);
            for gap in gaps_us {
                series.token_gap.observe_micros(u64::from(*gap));
            }
        }
        let sample = TrafficSample {
            tokens,
            gaps_us,
            ..TrafficSample::default()
        };
        self.metrics.add_sample(&sample, now);
    }

    /// The client gets a complete response that is no stream.
    pub(crate) fn served_whole(&mut self, status: StatusCode, response: &[u8]) {
        self.tokens.whole(self.route.dialect, response);
        if let (Some(reader), Some(endpoint)) = (self.response_id.take(), &self.endpoint) {
            reader.whole(response, endpoint, self.model());
        }
        self.served(status.is_server_error());
    }

    /// The client gets a complete response. `is_error`: the engine reports an error in it.
    pub(crate) fn served(&mut self, is_error: bool) {
        self.outcome = if is_error {
            RequestOutcome::Failed
        } else {
            RequestOutcome::Served
        };
    }

    /// The response broke off, and the client was told why.
    pub(crate) fn broke_off(&mut self, code: ErrorCode, message: &'static str) {
        self.outcome = RequestOutcome::Broken;
        self.error = Some((code, Cow::Borrowed(message)));
    }

    /// The request ends with an error. `is_known` tells whether any endpoint names its model.
    pub(crate) fn refused(&mut self, error: &GatewayError, is_known: impl FnOnce(&str) -> bool) {
        self.outcome = RequestOutcome::Refused;
        self.error = Some((error.code, error.message.clone()));
        if self.series.is_none() {
            let model = self.model.as_deref().filter(|model| is_known(model));
            self.series = Some(Arc::new(self.metrics.unplaced_series(model)));
        }
    }

    fn stop_running(&mut self) {
        if let Some(key) = &mut self.key {
            key.slot_given_back(Instant::now());
        }
        if std::mem::take(&mut self.is_running)
            && let Some(series) = &self.series
        {
            series.running.dec();
        }
    }

    fn record_endpoint(&self) {
        if self.span.is_disabled() {
            return;
        }
        let context = self.log_context();
        self.span.record("node", context.node());
        self.span.record("pool", context.pool());
        self.span.record("replica", context.replica());
    }

    fn record_end(&self, tokens: u64) {
        if self.span.is_disabled() {
            return;
        }
        self.span.record("outcome", self.outcome.as_str());
        self.span.record("tokens", tokens);
        if let Some((code, _)) = &self.error {
            self.span.record("code", code.as_str());
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

impl Drop for RequestObserver {
    fn drop(&mut self) {
        let now = Instant::now();
        let total = now.saturating_duration_since(self.started);
        self.stop_running();
        let series = self
            .series
            .take()
            .unwrap_or_else(|| Arc::new(self.metrics.unplaced_series(None)));
        let first_token = self
            .first_token
            .map(|first| first.saturating_duration_since(self.started));
        let queue_time = self.endpoint.is_some().then(|| self.retry.queue_time());
        let all_tokens = self.tokens.total();
        let used = self.used();
        if let Some(key) = self.key.take() {
            key.ended(series.model(), used, now);
        }
        AccessLogEntry {
            context: self.log_context(),
            trace: self.trace,
            endpoint: self.route.path,
            outcome: self.outcome.as_str(),
            code: self.error.as_ref().map(|(code, _)| code.as_str()),
            tokens: all_tokens,
            queue_time: self.retry.queue_time(),
            first_token,
            total,
        }
        .log();
        self.record_end(all_tokens);
        let tokens = self.tokens.rest();
        series.tokens.inc_by(tokens);
        series.duration.observe(total);
        if let Some(queue_time) = queue_time {
            series.queue_wait.observe(queue_time);
        }
        if let Some(first_token) = first_token {
            series.first_token.observe(first_token);
        }
        let error = self
            .error
            .take()
            .filter(|(code, _)| concerns_operators(*code));
        let sample = TrafficSample {
            ended: Some(error.is_some()),
            tokens,
            first_token_us: first_token.map(micros),
            queued_us: queue_time.map(micros),
            gaps_us: &[],
        };
        self.metrics.add_sample(&sample, now);
        self.metrics
            .request_ended(self.route.path, &series, self.outcome);
        if let Some((code, message)) = error {
            self.metrics.add_error(RecentError {
                at: String::new(),
                request_id: self
                    .request_id
                    .as_ref()
                    .map(RequestId::to_string)
                    .unwrap_or_default(),
                code,
                message: message.into_owned(),
                model: self.model.take(),
                node_id: self
                    .endpoint
                    .as_ref()
                    .map(|endpoint| endpoint.key().node.clone()),
            });
        }
    }
}

impl fmt::Debug for RequestObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestObserver")
            .field("route", &self.route.path)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}
