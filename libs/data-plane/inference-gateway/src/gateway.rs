//! The way of a request.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use admission::{AcquireRequest, Admission, Failure, Lease, Outcome, RefusalReason};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT},
    request::Parts,
};
use http_body::Body as _;
use http_body_util::BodyExt;
use http_server::{RequestBody, RequestId};
use node_transport::{NoAnswer, NodeAnswer, NodeReport, NodeRequest, NodeTransport};
use parking_lot::Mutex;
use placement::Strategy;
use pool_registry_types::{ErrorCode, headers};
use routing_table::Endpoint;
use stream_proxy::{Outbound, ProxyBody, StreamError, Timeouts};
use telemetry::TRACEPARENT;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field};

use crate::{
    Aliases, GatewayMetrics,
    about::tell,
    answer::{GatewayBody, Passing},
    attempt::{Attempt, judge},
    budget::RetryBudget,
    dialect::Dialect,
    journey::{Journey, QueueTimeout},
    models,
    named::{Meant, meant, named_model},
    options::{self, Options},
    record::Record,
    reply::{self, Fault},
    route::{self, Route},
    sse::EventStream,
};

/// The largest request body: a dozen images inline.
pub(crate) const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// An unstreamed answer up to this size is taken in whole before the client sees its first byte: an
/// engine that dies in the middle of it can then still be replaced, and a slow reader does not hold
/// a slot.
pub(crate) const WHOLE_ANSWER_BYTES: u64 = 1024 * 1024;
/// Credentials and hints meant for us, what only we may say to a node, and llama-server's resumable
/// streams, which would go on generating after the client has left.
static NOT_FORWARDED: [HeaderName; 11] = [
    headers::MODEL,
    headers::REPLICA_HINT,
    AUTHORIZATION,
    ACCEPT_ENCODING,
    EXPECT,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-conversation-id"),
    options::DEADLINE,
    options::PRIORITY,
    options::STRATEGY,
    options::PIN_NODE,
];

/// What a request is given on its way at most: its id, its trace, and for a node the token, the
/// mark of a gateway, the model and the replica.
const OWN_HEADERS: usize = 6;

/// What the gateway may be told.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// How to choose among free endpoints.
    pub strategy: Strategy,
    /// Other names for models.
    pub aliases: Aliases,
    /// The largest request body in bytes.
    pub max_body_bytes: usize,
    /// Time limits for each try.
    pub clocks: Timeouts,
}

impl Default for GatewayConfig {
    /// Least-loaded, no aliases, 32 MiB (a dozen images inline), the proxy's clocks.
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            aliases: Aliases::default(),
            max_body_bytes: MAX_BODY_BYTES,
            clocks: Timeouts::default(),
        }
    }
}

/// Serves `/v1/*`. Cloning is cheap and shares the state.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: GatewayConfig,
    admission: Admission,
    transport: Arc<dyn NodeTransport>,
    budget: Mutex<RetryBudget>,
    metrics: GatewayMetrics,
    started: Instant,
    started_unix: u64,
}

impl Gateway {
    /// A gateway that sends what `admission` lets through over `transport`.
    #[must_use]
    pub fn new(
        config: GatewayConfig,
        admission: Admission,
        transport: Arc<dyn NodeTransport>,
        metrics: GatewayMetrics,
    ) -> Self {
        let started_unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let budget = Mutex::new(RetryBudget::new());
        let started = Instant::now();
        Self(Arc::new(Shared {
            config,
            admission,
            transport,
            budget,
            metrics,
            started,
            started_unix,
        }))
    }

    /// Whether requests for `path` are this gateway's to answer.
    #[must_use]
    pub fn serves(path: &str) -> bool {
        route::is_ours(path)
    }

    /// The model that requests for `name` go to: `name` itself, unless it is an alias.
    #[must_use]
    pub fn model_of<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.config.aliases.target(name).unwrap_or(name)
    }

    /// Answers one request. Dropping the future, or the answer's body, cancels it up to the engine.
    pub async fn handle(self, request: Request<RequestBody>) -> Response<GatewayBody> {
        if is_for_a_node(&request) {
            return came_back(request.body().request_id());
        }
        let path = request.uri().path();
        let route = route::find(path);
        let dialect = route.map_or(Dialect::Plain, |route| route.dialect);
        let one_model = path.strip_prefix("/v1/models/");
        let result = match (route, request.method(), path) {
            (None, &Method::GET, "/v1/models") => Ok(models::list(
                &self.0.admission,
                &self.0.config.aliases,
                self.0.started_unix,
            )),
            (None, &Method::GET, _) if let Some(id) = one_model => models::one(
                &self.0.admission,
                &self.0.config.aliases,
                id,
                self.0.started_unix,
            ),
            (None, _, "/v1/models") => Err(wrong_method(request.method(), path, "GET")),
            (None, _, _) if one_model.is_some() => Err(wrong_method(request.method(), path, "GET")),
            (_, &Method::POST, _) => {
                match route.map_or_else(|| route::other(path), |route| Ok(Some(route))) {
                    Ok(Some(route)) => {
                        let id = request.body().request_id().cloned();
                        let mut record =
                            Record::begin(&self.0.metrics, route, id, request.headers());
                        let span = record.span();
                        let result = self
                            .infer(route, request, &mut record)
                            .instrument(span)
                            .await;
                        if let Err(fault) = &result {
                            record.refused(fault, |model| self.0.admission.names(model));
                        }
                        result
                    }
                    Ok(None) => Err(no_such_route()),
                    Err(error) => Err(Fault::new(ErrorCode::InvalidRequest, error.to_string())),
                }
            }
            (Some(_), ..) => Err(wrong_method(request.method(), path, "POST")),
            (None, ..) => Err(no_such_route()),
        };
        result.unwrap_or_else(|fault| fault.into_response(dialect))
    }

    async fn infer(
        &self,
        route: Route,
        request: Request<RequestBody>,
        record: &mut Record,
    ) -> Result<Response<GatewayBody>, Fault> {
        let (mut parts, body) = request.into_parts();
        let options = Options::read(&parts.headers, self.0.config.strategy, Instant::now())?;
        let body = body.read_all(self.0.config.max_body_bytes).await?;
        let model = match named_model(&parts.headers, &body) {
            Ok(Some(model)) => model.into_owned(),
            // A route nobody has written down is one only if its body says whom it is for.
            Ok(None) | Err(_) if route == route::OTHER => return Err(no_such_route()),
            Ok(None) => self.only_model()?,
            Err(error) => return Err(error.into()),
        };
        let Meant { model, alias, body } =
            meant(&self.0.config.aliases, model, &mut parts.headers, body)?;
        record.asked(&model);
        let (priority, deadline) = (options.priority, options.deadline);
        let wish = options.wish(&model, &body);
        let patience = parts.extensions.get().copied();
        let patience = patience.map_or(self.0.admission.max_wait(), |QueueTimeout(own)| own);
        let mut journey = Journey::new(model, wish, priority, deadline, patience);
        journey.alias = alias;
        let mut outbound = outbound(parts, body);
        outbound
            .set_headers
            .extend(record.request_id().map(|id| (headers::REQUEST_ID, id)));
        outbound
            .set_headers
            .extend(record.trace(&mut outbound.headers));
        self.0.budget.lock().earn();
        loop {
            let mut lease = self.slot(&mut journey).await?;
            record.placed(&lease, &journey);
            let tried = self.attempt(&lease, &mut outbound, &journey, record).await;
            let was_resent = outbound.resend.was_used() && !journey.was_resent;
            journey.was_resent |= was_resent;
            let (outcome, fault, executed, endpoint) = match tried {
                Attempt::Answer { answer, outcome } => {
                    match self
                        .answer(route, *answer, outcome, lease, record, &journey)
                        .await
                    {
                        Ok(response) => return Ok(response),
                        Err(Broken {
                            fault,
                            outcome: None,
                            ..
                        }) => return Err(journey.ends_with(fault)),
                        Err(Broken {
                            fault,
                            outcome: Some(outcome),
                            endpoint,
                        }) => (outcome, fault, true, endpoint),
                    }
                }
                Attempt::Failed {
                    outcome,
                    fault,
                    executed,
                    replica,
                    is_final,
                } => {
                    lease.used(replica.as_ref());
                    let endpoint = Arc::clone(lease.endpoint());
                    if is_final {
                        // Sent there again, it would end the same.
                        journey.tried.push(Arc::clone(&endpoint));
                    }
                    lease.ended(outcome);
                    drop(lease);
                    let executed =
                        executed || was_resent || outcome == Outcome::Failed(Failure::Broken);
                    (outcome, fault, executed, endpoint)
                }
                Attempt::GivenUp { fault } => return Err(journey.ends_with(fault)),
            };
            if executed {
                // It may have been executed: from now on each sending is a try, and counted as one.
                outbound.resend.forbid();
            }
            let spend = || self.0.budget.lock().spend(self.0.started.elapsed());
            if !journey.may_try_again(endpoint, outcome, executed, spend) {
                return Err(journey.ends_with(self.told_when_to_come_back(fault, &journey.model)));
            }
            record.retried();
            journey.last_fault = Some(fault);
        }
    }

    /// What a request without `model` can only mean.
    fn only_model(&self) -> Result<String, Fault> {
        self.0.admission.only_model().ok_or_else(|| {
            Fault::field(
                "model",
                "`model` is missing: it must name one of the models that GET /v1/models lists",
            )
        })
    }

    /// Busy is a reason to come back; the admission knows when.
    fn told_when_to_come_back(&self, fault: Fault, model: &str) -> Fault {
        let is_busy = fault.code == ErrorCode::QueueFull;
        Fault {
            retry_after: is_busy
                .then(|| self.0.admission.retry_after(model))
                .or(fault.retry_after),
            ..fault
        }
    }

    async fn slot(&self, journey: &mut Journey) -> Result<Lease, Fault> {
        let asked = Instant::now();
        let ask = AcquireRequest {
            model: &journey.model,
            priority: journey.priority,
            wish: &journey.wish,
            tried: &journey.tried,
            ticket: journey.ticket,
        };
        let patience = journey.patience_left();
        let span = tracing::debug_span!(target: telemetry::REQUEST, "admission", attempt = journey.attempts + 1);
        match self
            .0
            .admission
            .acquire_within(ask, journey.deadline, patience)
            .instrument(span)
            .await
        {
            Ok(lease) => {
                journey.found(&lease, asked);
                Ok(lease)
            }
            Err(refusal) => {
                journey.waited(asked);
                let fault = match journey.last_fault.take() {
                    Some(fault) if refusal.reason == RefusalReason::Exhausted => fault,
                    _ => reply::refused(&refusal, &journey.model, journey.alias.as_deref()),
                };
                Err(journey.ends_with(fault))
            }
        }
    }

    async fn attempt(
        &self,
        lease: &Lease,
        outbound: &mut Outbound,
        journey: &Journey,
        record: &Record,
    ) -> Attempt {
        let endpoint = lease.endpoint();
        let clocks = Timeouts {
            deadline: journey.deadline,
            ..self.0.config.clocks
        };
        let span = tracing::debug_span!(
            target: telemetry::REQUEST,
            "dispatch",
            otel.kind = "client",
            otel.status_code = field::Empty,
            endpoint = %endpoint.key(),
            attempt = journey.attempts,
            status = field::Empty,
        );
        if let Some(trace) = telemetry::trace_of(&span) {
            // What the endpoint does is a part of this try.
            outbound
                .set_headers
                .retain(|(name, _)| *name != TRACEPARENT);
            let value = HeaderValue::from_bytes(&trace.to_header());
            outbound
                .set_headers
                .extend(value.ok().map(|value| (TRACEPARENT, value)));
        }
        let sending = self.0.transport.send(NodeRequest {
            endpoint,
            model: &journey.model,
            outbound,
            clocks,
        });
        let result = sending.instrument(span.clone()).await;
        if let Err(NoAnswer::Failed { error, .. } | NoAnswer::Unreachable(error)) = &result {
            tell!(
                info,
                record.about(),
                error = error as &dyn std::error::Error,
                "a try failed"
            );
        }
        if !span.is_disabled() {
            match &result {
                Ok(answer) => span.record("status", answer.response.status().as_u16()),
                Err(_) => span.record("otel.status_code", "ERROR"),
            };
        }
        judge(result, record.about())
    }

    /// Makes the client's answer of the endpoint's; an error means that it broke while it was taken
    /// in whole.
    async fn answer(
        &self,
        route: Route,
        answer: NodeAnswer,
        outcome: Option<Outcome>,
        mut lease: Lease,
        record: &mut Record,
        journey: &Journey,
    ) -> Result<Response<GatewayBody>, Broken> {
        let NodeAnswer { response, report } = answer;
        let (mut parts, mut body) = response.into_parts();
        match outcome {
            Some(outcome) => {
                lease.used(report.replica.as_ref());
                lease.ended(outcome);
            }
            None => {
                let slots = report.slots.map(|slots| (slots.free, slots.total));
                lease.answered(report.replica.as_ref(), slots);
            }
        }
        record.served_by(&lease, journey);
        own_headers(&mut parts.headers, &lease, &report, journey);
        let is_events = parts
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        // An error has no proper end of a stream.
        let dialect = if parts.status.is_success() {
            route.dialect
        } else {
            Dialect::Plain
        };
        let is_small = body
            .size_hint()
            .exact()
            .is_some_and(|length| length <= WHOLE_ANSWER_BYTES);
        if is_events {
            // A stream may get an error event added; its length is nobody's promise.
            parts.headers.remove(CONTENT_LENGTH);
        }
        let whole = if is_small && !is_events {
            match whole(&mut body).instrument(stream_span()).await {
                Ok(whole) => whole,
                Err(error) => {
                    let broken = Broken::by(&error, lease.endpoint());
                    if let Some(outcome) = broken.outcome {
                        lease.ended(outcome);
                    }
                    tell!(
                        info,
                        record.about(),
                        error = &error as &dyn std::error::Error,
                        "an answer broke off before it was passed on"
                    );
                    return Err(broken);
                }
            }
        } else {
            None
        };
        let body = if let Some(whole) = whole {
            lease.ended(Outcome::Served);
            record.whole(&whole);
            record.served();
            GatewayBody::whole(whole)
        } else {
            if is_events {
                record.streams();
            }
            GatewayBody::passing(Passing {
                body,
                lease: Some(lease),
                events: is_events.then(|| EventStream::new(dialect)),
                record: record.take(),
                span: stream_span(),
            })
        };
        Ok(Response::from_parts(parts, body))
    }
}

/// An answer that broke off before any of it was passed on.
struct Broken {
    fault: Fault,
    /// What that says of the endpoint; `None` when it says nothing, and the request ends.
    outcome: Option<Outcome>,
    /// The endpoint that served it.
    endpoint: Arc<Endpoint>,
}

impl Broken {
    fn by(error: &StreamError, endpoint: &Arc<Endpoint>) -> Self {
        let (code, message, outcome) = crate::answer::broken(Some(error));
        Self {
            fault: Fault::new(code, message),
            outcome,
            endpoint: Arc::clone(endpoint),
        }
    }
}

/// All of an answer, if it has no more than [`WHOLE_ANSWER_BYTES`]; otherwise `None`, and the body
/// is as it was. What counts is what is read, not what was announced. An answer that came in one
/// piece, as small ones do, is that piece.
async fn whole(body: &mut ProxyBody) -> Result<Option<Bytes>, StreamError> {
    let first = match body.frame().await {
        Some(frame) => frame?.into_data().unwrap_or_default(),
        None => return Ok(Some(Bytes::new())),
    };
    if body.is_end_stream() {
        return Ok(Some(first));
    }
    let mut read = BytesMut::from(first);
    while read.len() as u64 <= WHOLE_ANSWER_BYTES {
        match body.frame().await {
            Some(frame) => read.extend_from_slice(&frame?.into_data().unwrap_or_default()),
            None => return Ok(Some(read.freeze())),
        }
    }
    body.put_back(read.freeze());
    Ok(None)
}

/// Around an answer, from its first byte to its last.
fn stream_span() -> Span {
    tracing::debug_span!(target: telemetry::REQUEST, "stream")
}

/// Whether a gateway has sent a request to a node, and it came here instead.
pub(crate) fn is_for_a_node(request: &Request<RequestBody>) -> bool {
    request.headers().contains_key(headers::VIA)
}

/// The answer to a request that was meant for a node. In the header, too: the gateway that sent it
/// reads no body.
fn came_back(request_id: Option<&RequestId>) -> Response<GatewayBody> {
    tracing::warn!(
        request_id = request_id.map(RequestId::as_str),
        "a request for a node came to a gateway: a node has registered with the address of this \
         process"
    );
    let code = ErrorCode::LoopDetected;
    let fault = Fault::new(
        code,
        "this is a gateway, and the request was sent to a node",
    );
    let mut response = fault.into_response(Dialect::Plain);
    let code = HeaderValue::from_static(code.as_str());
    response.headers_mut().insert(headers::REFUSAL, code);
    response
}

fn wrong_method(method: &Method, path: &str, allowed: &'static str) -> Fault {
    let message = format!("{path} does not take {method}, but {allowed}");
    Fault {
        allow: Some(allowed),
        ..Fault::new(ErrorCode::MethodNotAllowed, message)
    }
}

fn no_such_route() -> Fault {
    Fault::new(
        ErrorCode::NotFound,
        "there is no such route; GET /v1/models lists the models",
    )
}

/// The request as it goes on: the client's bytes, without what was meant for us.
fn outbound(parts: Parts, body: Bytes) -> Outbound {
    let path = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
    Outbound {
        removed_headers: &NOT_FORWARDED,
        set_headers: Vec::with_capacity(OWN_HEADERS),
        ..Outbound::new(parts.method, path, parts.headers, body)
    }
}

/// Says where the answer comes from. The request's id is said by the server, once.
fn own_headers(answer: &mut HeaderMap, lease: &Lease, report: &NodeReport, journey: &Journey) {
    answer.remove(headers::REQUEST_ID);
    let endpoint = lease.endpoint();
    let labels = endpoint.labels();
    answer.insert(headers::NODE, labels.node.clone());
    answer.insert(headers::POOL, labels.pool.clone());
    if let Some(replica) = replica_label(endpoint, report) {
        answer.insert(headers::REPLICA, replica);
    }
    answer.insert(headers::ATTEMPTS, number(journey.attempts.into()));
    let queued = u64::try_from(journey.queued.as_millis()).unwrap_or(u64::MAX);
    answer.insert(headers::QUEUE_MS, number(queued));
}

/// The replica that was used, as a header's value: what the node says, where it says so. Nearly
/// always it is the endpoint's own, and no memory is asked for.
fn replica_label(endpoint: &Endpoint, report: &NodeReport) -> Option<HeaderValue> {
    let chosen = &endpoint.key().replica;
    match &report.replica {
        Some(used) if chosen.as_ref() != Some(used) => HeaderValue::from_str(used.as_str()).ok(),
        _ => endpoint.labels().replica.clone(),
    }
}

/// A number as a header's value; what nearly all answers say costs no memory.
fn number(number: u64) -> HeaderValue {
    match number {
        0 => HeaderValue::from_static("0"),
        1 => HeaderValue::from_static("1"),
        more => HeaderValue::from(more),
    }
}
