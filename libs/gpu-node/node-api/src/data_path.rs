//! The guarded way to an engine.

use std::sync::Arc;

use axum::body::Body as ControlBody;
use engine_probe::{Aftercare, report};
use futures_util::{FutureExt as _, future};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{AUTHORIZATION, EXPECT},
    request::Parts,
    uri::PathAndQuery,
};
use http_body_util::Either;
use http_server::{ApiError, HttpService, RequestBody, RequestId};
use pool_registry::{Claim, ClaimError, PoolRegistry, SlotLease};
use pool_registry_types::{
    ErrorCode, PoolId, ReplicaId,
    engine_path::{EnginePath, classify},
    headers,
};
use stream_proxy::{Clocks, Outbound, ProxyBody, StreamProxy};
use telemetry::TRACEPARENT;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field};

use crate::{
    NodeMetrics,
    engine_body::EngineBody,
    refusal::{About, NoAnswer, Refusal, tell},
    slot::Slot,
};

const PREFIX: &str = "/v2/pools/";
const ENGINE: &str = "/engine/";

/// Begins the names of the headers in which this project speaks to itself.
const OUR_PREFIX: &str = "x-llorch-";

/// How many engines of a pool one request is tried on. A refusal of the connection costs nothing, but an engine
/// whose machine is gone costs a second, and the control plane has other nodes.
const MAX_ENGINES_TRIED: usize = 3;

/// How many engines of a pool may break off under one request before it is given back: one that dies is chance, two
/// in a row point at the request. A second sending to the same engine ([`Outbound::resend`]) counts as one of them.
const MAX_RESETS: usize = 1;

/// Credentials and hints that are for this hop, and llama-server's resumable streams, which would go on
/// generating after the client has left.
static NOT_FORWARDED: [HeaderName; 4] = [
    headers::VIA,
    AUTHORIZATION,
    EXPECT,
    HeaderName::from_static("x-conversation-id"),
];

/// What the data path may be told.
#[derive(Debug, Clone, Copy)]
pub struct DataPathConfig {
    /// The largest request body in bytes.
    pub max_body_bytes: usize,
    /// Time limits towards the engine.
    pub clocks: Clocks,
}

impl Default for DataPathConfig {
    /// 32 MiB, as the control plane, and the proxy's clocks.
    fn default() -> Self {
        Self {
            max_body_bytes: 32 * 1024 * 1024,
            clocks: Clocks::default(),
        }
    }
}

/// Serves `/v2/pools/{id}/engine/{path}` and gives everything else to `inner`.
#[derive(Debug, Clone)]
pub struct DataPath<S> {
    shared: Arc<Shared>,
    inner: S,
}

#[derive(Debug)]
struct Shared {
    registry: PoolRegistry,
    proxy: StreamProxy,
    config: DataPathConfig,
    /// `None`: a slot comes back at once when its request is given up.
    aftercare: Option<Aftercare>,
    metrics: NodeMetrics,
    /// What says in each line which node this is. Requests are served outside of it: it is on at every level, so entering it
    /// costs, and a line about a request is rare.
    node: Span,
}

/// The body of a node's answer: an engine's, or one of our own.
pub type NodeBody = Either<EngineBody, ControlBody>;

impl<S> DataPath<S> {
    /// The way to the engines of `registry`, before `inner`. `aftercare` keeps the slot of a request that was given
    /// up until its engine has stopped. The span it is made in is around each line that it logs.
    #[must_use]
    pub fn new(
        registry: PoolRegistry,
        proxy: StreamProxy,
        config: DataPathConfig,
        aftercare: Option<Aftercare>,
        metrics: NodeMetrics,
        inner: S,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                registry,
                proxy,
                config,
                aftercare,
                metrics,
                node: Span::current(),
            }),
            inner,
        }
    }
}

impl<S: HttpService<Body = ControlBody>> HttpService for DataPath<S> {
    type Body = NodeBody;

    fn respond(self, request: Request<RequestBody>) -> impl Future<Output = Response<NodeBody>> + Send {
        // They would make a tunnel or an echo of this process or of an engine.
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            let error = ApiError::new(
                ErrorCode::MethodNotAllowed,
                "this server takes neither CONNECT nor TRACE",
            );
            return future::Either::Right(future::Either::Right(refused(error)));
        }
        let Some((pool, path)) = engine_path(request.uri().path()) else {
            // What operators ask for is rare, and may be worth a line.
            let id = request.body().request_id().map(RequestId::as_str);
            let span = tracing::error_span!(parent: &self.shared.node, "request", request_id = id);
            let answer = self.inner.respond(request).instrument(span);
            let answer = answer.map(|response| response.map(Either::Right));
            return future::Either::Right(future::Either::Left(answer));
        };
        // The path that goes on begins with the slash before its first part.
        let after = request.uri().path().len() - path.len() - 1;
        match PoolId::new(pool) {
            // In a box: the state of a request on its way is large, and the server moves the future around it.
            Ok(pool) => future::Either::Left(Box::pin(self.shared.answer(pool, after, request))),
            Err(error) => {
                let refusal = refused(ApiError::invalid(error.to_string()));
                future::Either::Right(future::Either::Right(refusal))
            }
        }
    }
}

fn refused(error: ApiError) -> future::Ready<Response<NodeBody>> {
    future::ready(Refusal::from(error).into_response().map(Either::Right))
}

/// The pool and the engine's path in a path of the data path.
fn engine_path(path: &str) -> Option<(&str, &str)> {
    let named = path.strip_prefix(PREFIX)?;
    let (pool, path) = named.split_at(named.find('/')?);
    Some((pool, path.strip_prefix(ENGINE)?))
}

impl Shared {
    async fn answer(
        self: Arc<Self>,
        pool: PoolId,
        after: usize,
        request: Request<RequestBody>,
    ) -> Response<NodeBody> {
        let span = self.span(&pool, &request);
        let serving = self.serve(&pool, after, request, &span);
        let answer = serving.instrument(span.clone()).await;
        if let (Err(refusal), false) = (&answer, span.is_disabled()) {
            span.record("code", refusal.code().as_str());
            span.record("otel.status_code", "ERROR");
        }
        self.metrics
            .count(&pool, answer.as_ref().err().map(Refusal::code));
        answer.map_or_else(
            |refusal| refusal.into_response().map(Either::Right),
            |answer| answer.map(Either::Left),
        )
    }

    /// Around all that is done for a request; off by default (see [`telemetry::REQUEST`]).
    fn span(&self, pool: &PoolId, request: &Request<RequestBody>) -> Span {
        let span = tracing::debug_span!(
            target: telemetry::REQUEST,
            parent: &self.node,
            "request",
            otel.kind = "server",
            otel.status_code = field::Empty,
            request_id = request.body().request_id().map(RequestId::as_str),
            model = field::Empty,
            pool_id = %pool,
            replica_id = field::Empty,
            code = field::Empty,
        );
        telemetry::continue_trace(&span, request.headers());
        span
    }

    async fn serve(
        &self,
        pool: &PoolId,
        after: usize,
        request: Request<RequestBody>,
        span: &Span,
    ) -> Result<Response<EngineBody>, Refusal> {
        let (mut parts, body) = request.into_parts();
        let model = model_of(&mut parts.headers)?;
        let model = model.as_deref();
        if let (Some(model), false) = (model, span.is_disabled()) {
            span.record("model", model);
        }
        let path = engine_path_of(&parts, after)?;
        // Before the body is read: who comes in vain shall know at once. And without a slot: a body that takes its
        // time must not keep others waiting.
        self.registry
            .check_room(pool, model)
            .map_err(|error| self.no_slot(pool, &error))?;
        let id = body.request_id().cloned();
        let id = id.as_ref();
        let own = id.map(|id| (headers::REQUEST_ID, id.header_value()));
        let about = About {
            request_id: id,
            model,
        };
        let body = body
            .read_all(self.config.max_body_bytes)
            .await
            .map_err(ApiError::from)?;
        let mut outbound = Outbound {
            withheld: &NOT_FORWARDED,
            own: own.into_iter().collect(),
            ..Outbound::new(parts.method, path, parts.headers, body)
        };
        // How long the node may take until its answer begins, asleep or awake.
        let until = Instant::now() + self.config.clocks.first_byte;
        let mut tried = Vec::new();
        let admission = || tracing::debug_span!(target: telemetry::REQUEST, "admission");
        let finding = self.find(pool, model, &mut tried, until);
        let mut slot = finding.instrument(admission()).await?;
        let mut resets = 0;
        loop {
            if !span.is_disabled() {
                span.record("replica_id", slot.lease().replica_id().as_str());
            }
            let why = match self.ask(slot.lease(), &mut outbound).await {
                Ok(answer) => return Ok(answered(answer, slot)),
                Err(why) => why,
            };
            let lease = slot.lease();
            self.node.in_scope(|| why.log(lease, about));
            let refusal = Refusal::no_answer(lease, &why);
            if why.is_reset() {
                resets += 1;
                outbound.resend.forbid();
            }
            let executions = resets + usize::from(outbound.resend.was_used());
            let may_go_elsewhere = why.is_unreachable() || (why.is_reset() && executions <= MAX_RESETS);
            if !may_go_elsewhere {
                return Err(refusal);
            }
            tried.push(lease.replica_id().clone());
            if why.is_unreachable() {
                self.node.in_scope(|| {
                    let span = tracing::error_span!("request", request_id = about.request_id(), model);
                    span.in_scope(|| report(lease.pool_id(), lease.replica_id(), &lease.unreachable()));
                });
                slot.done();
            }
            if tried.len() >= MAX_ENGINES_TRIED {
                return Err(refusal);
            }
            let finding = self.find(pool, model, &mut tried, until);
            slot = match finding.instrument(admission()).await {
                Ok(other) => other,
                // That the request may be served soon is worth more to know than that one engine is gone. The gateway counts
                // this as a try if an engine may have begun with it.
                Err(other) if other.is_momentary() => return Err(other.after(executions)),
                Err(_) => return Err(refusal),
            };
        }
    }

    /// A slot of an engine that is none of `tried`. When all that are awake are taken, one that sleeps is woken and
    /// waited for. One that does not wake joins the `tried`.
    async fn find(
        &self,
        pool: &PoolId,
        model: Option<&str>,
        tried: &mut Vec<ReplicaId>,
        until: Instant,
    ) -> Result<Slot, Refusal> {
        let mut why_not_woken = None;
        loop {
            let slot = match self.registry.claim_or_wake(pool, model, tried) {
                Ok(Claim::Slot(lease)) => return Ok(self.slot(lease)),
                Ok(Claim::Promised(slot)) => slot,
                Err(ClaimError::NotReady(excluded)) => {
                    let why = why_not_woken.unwrap_or(ClaimError::NotReady(excluded));
                    return Err(self.no_slot(pool, &why));
                }
                Err(error) => return Err(self.no_slot(pool, &error)),
            };
            let replica = slot.replica_id().clone();
            match tokio::time::timeout_at(until, slot.awake()).await {
                Ok(Ok(lease)) => return Ok(self.slot(lease)),
                Ok(Err(why @ ClaimError::NotReady(_))) => {
                    tried.push(replica);
                    why_not_woken = Some(why);
                }
                Ok(Err(error)) => return Err(self.no_slot(pool, &error)),
                Err(_elapsed) => return Err(self.still_asleep(pool)),
            }
        }
    }

    fn slot(&self, lease: SlotLease) -> Slot {
        Slot::new(lease, self.aftercare.as_ref())
    }

    fn still_asleep(&self, pool: &PoolId) -> Refusal {
        Refusal::asleep(pool, self.registry.pool_slots(pool))
    }

    async fn ask(&self, lease: &SlotLease, outbound: &mut Outbound) -> Result<Response<ProxyBody>, NoAnswer> {
        let span = tracing::debug_span!(
            target: telemetry::REQUEST,
            "dispatch",
            otel.kind = "client",
            otel.status_code = field::Empty,
            replica_id = %lease.replica_id(),
            status = field::Empty,
        );
        if let Some(trace) = telemetry::trace_of(&span) {
            // What the engine does is a part of this try.
            outbound.own.retain(|(name, _)| *name != TRACEPARENT);
            let value = HeaderValue::from_bytes(&trace.to_header());
            outbound.own.extend(value.ok().map(|value| (TRACEPARENT, value)));
        }
        let sending = self.proxy.forward(lease.url(), outbound, self.config.clocks);
        let answer = sending.instrument(span.clone()).await;
        if !span.is_disabled() {
            match &answer {
                Ok(answer) => span.record("status", answer.status().as_u16()),
                Err(_) => span.record("otel.status_code", "ERROR"),
            };
        }
        answer.map_err(NoAnswer)
    }

    fn no_slot(&self, pool: &PoolId, error: &ClaimError) -> Refusal {
        Refusal::no_slot(pool, error, self.registry.pool_slots(pool))
    }
}

/// The model the control plane says it is about. It is for this hop, so it goes no further.
fn model_of(headers: &mut HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(model) = headers.remove(headers::MODEL) else {
        return Ok(None);
    };
    let model = std::str::from_utf8(model.as_bytes())
        .map_err(|_| ApiError::invalid("the header X-Llorch-Model must be UTF-8"))?;
    Ok(Some(model.to_owned()))
}

/// The path that is the engine's: what begins at `after`. It is judged here as well as in the gateway, because whoever has
/// the node's token can ask the node itself.
fn engine_path_of(parts: &Parts, after: usize) -> Result<PathAndQuery, ApiError> {
    let path = parts.uri.path().get(after..).unwrap_or_default();
    match classify(path) {
        Ok(EnginePath::Inference) => {}
        Ok(EnginePath::Administration) => {
            let reason = "there is no such route: engines are not administered through a node";
            return Err(ApiError::new(ErrorCode::NotFound, reason));
        }
        Err(error) => return Err(ApiError::invalid(error.to_string())),
    }
    parts
        .uri
        .path_and_query()
        .and_then(|whole| whole.as_str().get(after..))
        .and_then(|path| path.parse().ok())
        .ok_or_else(|| ApiError::invalid("the path after /engine/ is not valid"))
}

/// The engine's answer with what this node says of itself.
fn answered(answer: Response<ProxyBody>, slot: Slot) -> Response<EngineBody> {
    slot.answered();
    let (mut parts, body) = answer.into_parts();
    // The control plane believes these, and an engine has no business with them.
    let claimed: Vec<HeaderName> = parts
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with(OUR_PREFIX))
        .cloned()
        .collect();
    for name in &claimed {
        parts.headers.remove(name);
    }
    tell(&mut parts.headers, slot.lease().pool_slots());
    if let Ok(replica) = HeaderValue::from_str(slot.lease().replica_id().as_str()) {
        parts.headers.insert(headers::REPLICA, replica);
    }
    Response::from_parts(parts, EngineBody::new(body, slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_pool_and_path() {
        for (path, expected) in [
            (
                "/v2/pools/p/engine/v1/chat/completions",
                Some(("p", "v1/chat/completions")),
            ),
            ("/v2/pools/p/engine/", Some(("p", ""))),
            (
                "/v2/pools/p/engine/v2/pools/q/engine/x",
                Some(("p", "v2/pools/q/engine/x")),
            ),
            ("/v2/pools/p", None),
            ("/v2/pools/p/engine", None),
            ("/v2/pools/a/b/engine/x", None),
            ("/v2/nodes/p/engine/x", None),
        ] {
            assert_eq!(engine_path(path), expected, "{path}");
        }
    }
}
