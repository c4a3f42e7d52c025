//! The way of a request.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use admission::{Admission, Ask, Failure, Lease, Outcome, Priority, RefusalReason, Ticket};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT},
    request::Parts,
};
use http_body_util::BodyExt;
use http_server::{RequestBody, RequestId};
use parking_lot::Mutex;
use placement::Strategy;
use pool_registry_types::{ErrorCode, headers};
use routing_table::{Availability, EndpointKey, Hop, RoutingTable};
use serde::Serialize;
use stream_proxy::{Clocks, Outbound, ProxyBody, StreamProxy};
use tokio::{sync::watch, time::Instant};

use crate::{
    GatewayMetrics,
    answer::{GatewayBody, Passing},
    attempt::{Attempt, judge, told_load},
    budget::RetryBudget,
    metrics::{Record, Result as Outcomes},
    peek::peek,
    reply::{self, Fault, json},
    sse::EventStream,
};

/// The most tries of one request. Three replicas that all fail it point at the request.
const MAX_TRIES: u32 = 3;
/// The most endpoints one request finds unreachable or busy before it gives up; each one costs a millisecond.
const MAX_DETOURS: u32 = 16;
/// An unstreamed answer up to this size is taken in whole before the client sees its first byte: an engine that
/// dies in the middle of it can then still be replaced, and a slow reader does not hold a slot.
const WHOLE_ANSWER_BYTES: u64 = 1024 * 1024;
/// The client's own deadline, in milliseconds from now.
const DEADLINE_HEADER: HeaderName = HeaderName::from_static("x-deadline-ms");
/// Credentials and hints meant for us, and llama-server's resumable streams, which would go on generating after
/// the client has left.
const NOT_FORWARDED: [HeaderName; 6] = [
    AUTHORIZATION,
    ACCEPT_ENCODING,
    EXPECT,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-conversation-id"),
    DEADLINE_HEADER,
];

/// What the gateway may be told.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// How to choose among free endpoints.
    pub strategy: Strategy,
    /// The largest request body in bytes.
    pub max_body_bytes: usize,
    /// Time limits for each try.
    pub clocks: Clocks,
    /// What nodes ask us for, as the value of `Authorization`.
    pub node_token: Option<HeaderValue>,
}

impl Default for GatewayConfig {
    /// Least-loaded, 32 MiB (a dozen images inline), the proxy's clocks, no token.
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            max_body_bytes: 32 * 1024 * 1024,
            clocks: Clocks::default(),
            node_token: None,
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
    tables: watch::Receiver<Arc<RoutingTable>>,
    proxy: StreamProxy,
    budget: Mutex<RetryBudget>,
    metrics: GatewayMetrics,
    started: Instant,
    started_unix: u64,
}

/// A route that forwards to an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Route {
    path: &'static str,
    /// Its streams end with `data: [DONE]`.
    ends_with_done: bool,
}

const FORWARDED: [Route; 3] = [
    Route {
        path: "/v1/chat/completions",
        ends_with_done: true,
    },
    Route {
        path: "/v1/completions",
        ends_with_done: true,
    },
    Route {
        path: "/v1/embeddings",
        ends_with_done: false,
    },
];

/// What a request has been through so far.
struct Journey {
    deadline: Option<Instant>,
    ticket: Option<Ticket>,
    tried: Vec<(EndpointKey, u64)>,
    attempts: u32,
    failures: u32,
    queued: Duration,
    last_fault: Option<Fault>,
}

#[derive(Serialize)]
struct ModelList<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

impl Gateway {
    /// A gateway over what `tables` says is there and `admission` lets through.
    #[must_use]
    pub fn new(
        config: GatewayConfig,
        admission: Admission,
        tables: watch::Receiver<Arc<RoutingTable>>,
        proxy: StreamProxy,
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
            tables,
            proxy,
            budget,
            metrics,
            started,
            started_unix,
        }))
    }

    /// Whether requests for `path` are this gateway's to answer.
    #[must_use]
    pub fn serves(path: &str) -> bool {
        path == "/v1" || path.starts_with("/v1/")
    }

    /// Answers one request. Dropping the future, or the answer's body, cancels it up to the engine.
    pub async fn handle(&self, request: Request<RequestBody>) -> Response<GatewayBody> {
        let path = request.uri().path();
        let forwarded = FORWARDED.into_iter().find(|route| route.path == path);
        let result = match (forwarded, path, request.method()) {
            (Some(route), _, &Method::POST) => {
                let record = self.0.metrics.begin(route.path);
                let result = self.infer(route, request, &record).await;
                if result.is_err() {
                    record.set(Outcomes::Refused);
                }
                result
            }
            (None, "/v1/models", &Method::GET) => Ok(self.models()),
            (Some(_), ..) => Err(wrong_method(request.method(), path, "POST")),
            (None, "/v1/models", _) => Err(wrong_method(request.method(), path, "GET")),
            _ => Err(Fault::new(
                ErrorCode::NotFound,
                "there is no such route; GET /v1/models lists the models",
            )),
        };
        result.unwrap_or_else(Fault::into_response)
    }

    fn models(&self) -> Response<GatewayBody> {
        let table = self.0.tables.borrow().clone();
        let ready = |model: &&str| {
            let endpoints = table
                .candidates(model)
                .iter()
                .filter_map(|&index| table.endpoints().get(index as usize));
            endpoints
                .into_iter()
                .any(|endpoint| endpoint.availability == Availability::Ready)
        };
        let mut names: Vec<&str> = table.models().filter(ready).collect();
        names.sort_unstable();
        let created = self.0.started_unix;
        let data = names
            .into_iter()
            .map(|id| Model {
                id,
                object: "model",
                created,
                owned_by: "llorch",
            })
            .collect();
        json(StatusCode::OK, &ModelList { object: "list", data })
    }

    async fn infer(
        &self,
        route: Route,
        request: Request<RequestBody>,
        record: &Record,
    ) -> Result<Response<GatewayBody>, Fault> {
        let (parts, body) = request.into_parts();
        let deadline = deadline(&parts.headers, Instant::now())?;
        let body = body.read_all(self.0.config.max_body_bytes).await?;
        let peeked = peek(&body)?;
        let model = match peeked.model {
            Some(model) => model.into_owned(),
            None => self.only_model()?,
        };
        let mut outbound = outbound(parts, body);
        self.0.budget.lock().earn();
        let mut journey = Journey {
            deadline,
            ticket: None,
            tried: Vec::new(),
            attempts: 0,
            failures: 0,
            queued: Duration::ZERO,
            last_fault: None,
        };
        loop {
            let lease = self.slot(&model, &mut journey).await?;
            let life = lease
                .endpoint()
                .map(|endpoint| (endpoint.key.clone(), endpoint.incarnation));
            let (outcome, fault) = match self.attempt(&lease, &mut outbound, &model, &journey).await {
                Attempt::Answer { response, outcome } => {
                    match self
                        .answer(route, *response, outcome, lease, record, &journey)
                        .await
                    {
                        Ok(response) => return Ok(response),
                        Err(fault) => (Outcome::Failed(Failure::Broken), fault),
                    }
                }
                Attempt::Failed { outcome, fault } => {
                    lease.ended(outcome);
                    (outcome, fault)
                }
                Attempt::GivenUp(fault) => return Err(fault),
            };
            self.again(&mut journey, life, outcome, fault)?;
        }
    }

    /// What a request without `model` can only mean.
    fn only_model(&self) -> Result<String, Fault> {
        let table = self.0.tables.borrow().clone();
        table.only_model().map(str::to_owned).ok_or_else(|| {
            Fault::field(
                "model",
                "`model` is missing: it must name one of the models that GET /v1/models lists",
            )
        })
    }

    async fn slot(&self, model: &str, journey: &mut Journey) -> Result<Lease, Fault> {
        let asked = Instant::now();
        let ask = Ask {
            model,
            strategy: self.0.config.strategy,
            priority: Priority::Interactive,
            tried: &journey.tried,
            ticket: journey.ticket,
        };
        let lease = self
            .0
            .admission
            .acquire(ask, journey.deadline)
            .await
            .map_err(|refusal| match journey.last_fault.take() {
                Some(fault) if refusal.reason == RefusalReason::Exhausted => fault,
                _ => reply::refused(&refusal, model),
            })?;
        journey.queued += asked.elapsed();
        journey.ticket = Some(lease.ticket());
        journey.attempts += 1;
        Ok(lease)
    }

    async fn attempt(
        &self,
        lease: &Lease,
        outbound: &mut Outbound,
        model: &str,
        journey: &Journey,
    ) -> Attempt {
        let Some(endpoint) = lease.endpoint() else {
            return Attempt::GivenUp(Fault::new(ErrorCode::Internal, "a slot without an endpoint"));
        };
        let headers = &mut outbound.headers;
        headers.remove(AUTHORIZATION);
        headers.remove(headers::MODEL);
        if endpoint.hop == Hop::Node {
            if let Some(token) = &self.0.config.node_token {
                headers.insert(AUTHORIZATION, token.clone());
            }
            if let Ok(model) = HeaderValue::from_bytes(model.as_bytes()) {
                headers.insert(headers::MODEL, model);
            }
        }
        let clocks = Clocks {
            deadline: journey.deadline,
            ..self.0.config.clocks
        };
        let result = self.0.proxy.forward(&endpoint.target, outbound, clocks).await;
        if let Err(error) = &result {
            tracing::info!(endpoint = %endpoint.key, error = error as &dyn std::error::Error, "a try failed");
        }
        judge(result, endpoint.hop)
    }

    /// Whether the request may be tried again; if not, what the client is told.
    fn again(
        &self,
        journey: &mut Journey,
        life: Option<(EndpointKey, u64)>,
        outcome: Outcome,
        fault: Fault,
    ) -> Result<(), Fault> {
        let detours = journey.attempts - journey.failures;
        let allowed = match outcome {
            // Nothing was spent upstream: going elsewhere is free, and the quarantine keeps it from coming back.
            Outcome::Refused | Outcome::Failed(Failure::Unreachable) => {
                let patience = journey.deadline.is_none_or(|deadline| Instant::now() < deadline);
                detours < MAX_DETOURS && patience
            }
            Outcome::Failed(Failure::Broken) | Outcome::Served => {
                journey.failures += 1;
                journey.tried.extend(life);
                journey.failures < MAX_TRIES && self.0.budget.lock().spend(self.0.started.elapsed())
            }
        };
        if !allowed {
            return Err(fault);
        }
        self.0.metrics.retried();
        journey.last_fault = Some(fault);
        Ok(())
    }

    /// Makes the client's answer of the endpoint's; an error means that it broke while it was taken in whole.
    async fn answer(
        &self,
        route: Route,
        response: Response<ProxyBody>,
        outcome: Option<Outcome>,
        lease: Lease,
        record: &Record,
        journey: &Journey,
    ) -> Result<Response<GatewayBody>, Fault> {
        let (mut parts, body) = response.into_parts();
        match outcome {
            Some(outcome) => lease.ended(outcome),
            None => lease.answered(told_load(&parts.headers)),
        }
        own_headers(&mut parts.headers, &lease, journey);
        let is_events = parts
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let is_small = length(&parts.headers).is_some_and(|length| length <= WHOLE_ANSWER_BYTES);
        let body = if is_small && !is_events {
            match body.collect().await {
                Ok(whole) => {
                    lease.ended(Outcome::Served);
                    record.set(Outcomes::Served);
                    GatewayBody::whole(whole.to_bytes())
                }
                Err(error) => {
                    lease.ended(Outcome::Failed(Failure::Broken));
                    tracing::info!(
                        error = &error as &dyn std::error::Error,
                        "an answer broke off before it was passed on"
                    );
                    return Err(Fault::new(
                        ErrorCode::WorkerReset,
                        "the engine broke off in the middle of its answer",
                    ));
                }
            }
        } else {
            GatewayBody::passing(Passing {
                body,
                lease: Some(lease),
                events: is_events.then(EventStream::default),
                ends_with_done: route.ends_with_done && parts.status.is_success(),
                record: record.clone(),
            })
        };
        Ok(Response::from_parts(parts, body))
    }
}

fn wrong_method(method: &Method, path: &str, allowed: &'static str) -> Fault {
    let message = format!("{path} does not take {method}, but {allowed}");
    Fault {
        allow: Some(HeaderValue::from_static(allowed)),
        ..Fault::new(ErrorCode::MethodNotAllowed, message)
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The instant at which the client wants no answer any more.
fn deadline(headers: &HeaderMap, now: Instant) -> Result<Option<Instant>, Fault> {
    let Some(value) = headers.get(DEADLINE_HEADER) else {
        return Ok(None);
    };
    let millis = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .filter(|&millis| millis > 0);
    match millis.and_then(|millis| now.checked_add(Duration::from_millis(millis))) {
        Some(deadline) => Ok(Some(deadline)),
        None => Err(Fault::field(
            "X-Deadline-Ms",
            "the header X-Deadline-Ms must be a number of milliseconds above 0",
        )),
    }
}

/// The request as it goes on: the client's bytes, without what was meant for us.
fn outbound(parts: Parts, body: Bytes) -> Outbound {
    let mut headers = parts.headers;
    for name in &NOT_FORWARDED {
        headers.remove(name);
    }
    if let Some(id) = parts
        .extensions
        .get::<RequestId>()
        .and_then(|id| HeaderValue::from_str(id.as_str()).ok())
    {
        headers.insert(headers::REQUEST_ID, id);
    }
    let path = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
    Outbound {
        method: parts.method,
        path,
        headers,
        body,
    }
}

/// Says where the answer comes from, and keeps to ourselves what nodes tell us.
fn own_headers(answer: &mut HeaderMap, lease: &Lease, journey: &Journey) {
    for name in [
        headers::SLOTS_FREE,
        headers::SLOTS_TOTAL,
        headers::REFUSAL,
        headers::REQUEST_ID,
    ] {
        answer.remove(name);
    }
    if let Some(endpoint) = lease.endpoint() {
        let named = [
            (headers::NODE, Some(endpoint.key.node.as_str())),
            (headers::POOL, Some(endpoint.key.pool.as_str())),
            (
                headers::REPLICA,
                endpoint.key.replica.as_ref().map(|replica| replica.as_str()),
            ),
        ];
        for (name, id) in named {
            // An id is a header value by its own rules.
            if let Some(Ok(value)) = id.map(HeaderValue::from_str) {
                answer.insert(name, value);
            }
        }
    }
    answer.insert(headers::ATTEMPTS, HeaderValue::from(journey.attempts));
    let queued = u64::try_from(journey.queued.as_millis()).unwrap_or(u64::MAX);
    answer.insert(headers::QUEUE_MS, HeaderValue::from(queued));
}
