//! The way to an engine over HTTP: what headers and paths say becomes a request for the
//! [`Dispatcher`], and the node's report becomes headers.

use axum::body::Body as ControlBody;
use futures_util::{FutureExt as _, future};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{AUTHORIZATION, EXPECT},
    request::Parts,
    uri::PathAndQuery,
};
use http_body_util::Either;
use http_server::{ApiError, HttpService, RequestBody, RequestId};
use pool_registry_types::{
    ErrorCode, PoolId, ReplicaId,
    engine_path::{EnginePath, classify},
    headers,
};
use stream_proxy::{Outbound, ProxyBody};
use tracing::{Instrument as _, Span, field};

use crate::{
    Dispatcher,
    dispatch::{Served, Shared, Wanted},
    not_served::NotServed,
    refusal::{Refusal, insert_slots},
};

const PREFIX: &str = "/v2/pools/";
const ENGINE: &str = "/engine/";

/// Credentials and hints that are for this hop, and llama-server's resumable streams, which would
/// go on generating after the client has left.
static NOT_FORWARDED: [HeaderName; 6] = [
    headers::VIA,
    headers::MODEL,
    headers::REPLICA_HINT,
    AUTHORIZATION,
    EXPECT,
    HeaderName::from_static("x-conversation-id"),
];

/// Serves `/v2/pools/{id}/engine/{path}` and gives everything else to `inner`.
#[derive(Debug, Clone)]
pub struct DataPath<S> {
    dispatcher: Dispatcher,
    inner: S,
}

/// The body of a node's answer: an engine's, or one of our own.
pub type NodeBody = Either<ProxyBody, ControlBody>;

impl<S> DataPath<S> {
    /// The way to the engines of `dispatcher`, before `inner`.
    #[must_use]
    pub fn new(dispatcher: Dispatcher, inner: S) -> Self {
        Self { dispatcher, inner }
    }
}

impl<S: HttpService<Body = ControlBody>> HttpService for DataPath<S> {
    type Body = NodeBody;

    fn respond(
        self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<NodeBody>> + Send {
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
            let span =
                tracing::error_span!(parent: &self.dispatcher.0.node, "request", request_id = id);
            let answer = self.inner.respond(request).instrument(span);
            let answer = answer.map(|response| response.map(Either::Right));
            return future::Either::Right(future::Either::Left(answer));
        };
        // The path that goes on begins with the slash before its first part.
        let after = request.uri().path().len() - path.len() - 1;
        match PoolId::new(pool) {
            // In a box: the state of a request on its way is large, and the server moves the future
            // around it.
            Ok(pool) => future::Either::Left(Box::pin(async move {
                self.dispatcher.0.answer(&pool, after, request).await
            })),
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
        &self,
        pool: &PoolId,
        after: usize,
        request: Request<RequestBody>,
    ) -> Response<NodeBody> {
        let span = self.span(pool, &request);
        let serving = self.forward(pool, after, request, &span);
        let answer = serving.instrument(span.clone()).await;
        if let (Err(refusal), false) = (&answer, span.is_disabled()) {
            span.record("code", refusal.code().as_str());
            span.record("otel.status_code", "ERROR");
        }
        self.metrics
            .count(pool, answer.as_ref().err().map(Refusal::code));
        answer.map_or_else(
            |refusal| refusal.into_response().map(Either::Right),
            |served| with_report(served).map(Either::Left),
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

    async fn forward(
        &self,
        pool: &PoolId,
        after: usize,
        request: Request<RequestBody>,
        span: &Span,
    ) -> Result<Served, Refusal> {
        let (mut parts, body) = request.into_parts();
        let model = model_of(&mut parts.headers)?;
        let model = model.as_deref();
        if let (Some(model), false) = (model, span.is_disabled()) {
            span.record("model", model);
        }
        let path = engine_path_of(&parts, after)?;
        // Before the body is read: who comes in vain shall know at once. And without a slot: a body
        // that takes its time must not keep others waiting.
        self.registry
            .check_capacity(pool, model)
            .map_err(|error| self.refusal(pool, &NotServed::no_slot(error)))?;
        let id = body.request_id().map(RequestId::header_value);
        let body = body
            .read_all(self.config.max_body_bytes)
            .await
            .map_err(ApiError::from)?;
        let hint = hint_of(&parts.headers);
        let mut outbound = Outbound {
            removed_headers: &NOT_FORWARDED,
            set_headers: id.into_iter().map(|id| (headers::REQUEST_ID, id)).collect(),
            ..Outbound::new(parts.method, path, parts.headers, body)
        };
        let wanted = Wanted {
            pool,
            model,
            hint: hint.as_ref(),
            clocks: self.config.clocks,
        };
        self.serve(wanted, &mut outbound, span)
            .await
            .map_err(|why| self.refusal(pool, &why))
    }

    fn refusal(&self, pool: &PoolId, why: &NotServed) -> Refusal {
        Refusal::new(pool, why, self.registry.pool_slots(pool))
    }
}

/// The replica that the gateway has chosen. One that cannot be read is none: the node chooses.
fn hint_of(headers: &HeaderMap) -> Option<ReplicaId> {
    ReplicaId::new(headers.get(headers::REPLICA_HINT)?.to_str().ok()?).ok()
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

/// The path that is the engine's: what begins at `after`. It is judged here as well as in the
/// gateway, because whoever has the node's token can ask the node itself.
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
fn with_report(served: Served) -> Response<ProxyBody> {
    let lease = served.lease();
    let slots = lease.slots();
    let replica = HeaderValue::from_str(lease.replica_id().as_str());
    let mut response = served.into_response();
    let answer = response.headers_mut();
    insert_slots(
        answer,
        slots.pool,
        [headers::SLOTS_FREE, headers::SLOTS_TOTAL],
    );
    if let Some(slots) = slots.replica {
        insert_slots(
            answer,
            slots,
            [headers::REPLICA_SLOTS_FREE, headers::REPLICA_SLOTS_TOTAL],
        );
    }
    if let Ok(replica) = replica {
        answer.insert(headers::REPLICA, replica);
    }
    response
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
