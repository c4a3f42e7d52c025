//! The data path over HTTP. Paths and headers become a request for the [`Dispatcher`], and the
//! node's report becomes headers.

use std::{pin::pin, time::Duration};

use axum::body::Body as ControlBody;
use futures_util::{FutureExt as _, future};
use http::{HeaderMap, HeaderValue, Method, Request, Response, request::Parts, uri::PathAndQuery};
use http_body_util::Either;
use http_server::{Access, ApiError, HttpService, RequestBody, RequestId, authorize};
use pool_registry_types::{
    ErrorCode, PoolId, ReplicaId,
    engine_path::{EnginePath, classify},
    headers,
};
use request_forwarding::{removed_request_headers, within};
use stream_proxy::{Outbound, ProxyBody, Timeouts};
use tracing::{Instrument as _, Span, field};

use crate::{
    dispatch::{Dispatcher, EngineRequest, EngineResponse, Shared},
    dispatch_error::DispatchError,
    refusal::{Refusal, insert_slots},
};

const PREFIX: &str = "/v2/pools/";
const ENGINE: &str = "/engine/";

removed_request_headers! {
    /// Credentials and hints for this hop.
    static NOT_FORWARDED = [];
}

/// The request's id, and its trace.
const SET_HEADERS: usize = 2;

/// Serves `/v2/pools/{id}/engine/{path}`, and passes everything else to `inner`.
#[derive(Debug, Clone)]
pub struct DataPath<S> {
    dispatcher: Dispatcher,
    inner: S,
}

/// The body of a node's response: an engine's, or the node's own.
pub type NodeBody = Either<ProxyBody, ControlBody>;

impl<S> DataPath<S> {
    /// The data path of `dispatcher` in front of `inner`.
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
        // They would turn this process or an engine into a tunnel or an echo.
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            let error = ApiError::new(
                ErrorCode::MethodNotAllowed,
                "this server does not accept CONNECT or TRACE",
            );
            return future::Either::Right(future::Either::Right(refused(error)));
        }
        let Some((pool, path)) = engine_path(request.uri().path()) else {
            // Requests of operators are rare, so their spans are always enabled.
            let id = request.body().request_id().map(RequestId::as_str);
            let span =
                tracing::error_span!(parent: &self.dispatcher.0.node, "request", request_id = id);
            let response = self.inner.respond(request).instrument(span);
            let response = response.map(|response| response.map(Either::Right));
            return future::Either::Right(future::Either::Left(response));
        };
        if let Err(error) = authorize(
            request.body(),
            (request.method(), request.uri().path()),
            Access::CLIENT,
            None,
        ) {
            return future::Either::Right(future::Either::Right(refused(error)));
        }
        // The engine's path starts with the slash before its first part.
        let start = request.uri().path().len() - path.len() - 1;
        match PoolId::new(pool) {
            // Boxed: the future is large, and the server moves it.
            Ok(pool) => future::Either::Left(Box::pin(async move {
                self.dispatcher.0.respond(&pool, start, request).await
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

/// Splits a path of the data path into the pool and the engine's path.
fn engine_path(path: &str) -> Option<(&str, &str)> {
    let named = path.strip_prefix(PREFIX)?;
    let (pool, path) = named.split_at(named.find('/')?);
    Some((pool, path.strip_prefix(ENGINE)?))
}

impl Shared {
    async fn respond(
        &self,
        pool: &PoolId,
        start: usize,
        request: Request<RequestBody>,
    ) -> Response<NodeBody> {
        let span = self.span(pool, &request);
        let result = {
            let forwarding = pin!(self.forward(pool, start, request, &span));
            within(&span, forwarding).await
        };
        if let (Err(refusal), false) = (&result, span.is_disabled()) {
            span.record("code", refusal.code().as_str());
            span.record("otel.status_code", "ERROR");
        }
        self.metrics
            .count(pool, result.as_ref().err().map(Refusal::code));
        result.map_or_else(
            |refusal| refusal.into_response().map(Either::Right),
            |served| with_report(served).map(Either::Left),
        )
    }

    /// The span that covers a request; disabled by default (see [`telemetry::REQUEST`]).
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
        start: usize,
        request: Request<RequestBody>,
        span: &Span,
    ) -> Result<EngineResponse, Refusal> {
        let (mut parts, body) = request.into_parts();
        // It ends at this hop.
        let model = parts.headers.remove(headers::MODEL);
        let model = model.as_ref().map(model_name).transpose()?;
        if let (Some(model), false) = (model, span.is_disabled()) {
            span.record("model", model);
        }
        let path = engine_path_of(&parts, start)?;
        // Reject before reading the body, and without holding a slot: a slow body must not block
        // others.
        self.registry
            .check_capacity(pool, model)
            .map_err(|error| self.refusal(pool, &DispatchError::no_slot(error)))?;
        let id = body.request_id().map(RequestId::header_value);
        let body = body
            .read_all(self.config.max_body_bytes)
            .await
            .map_err(ApiError::from)?;
        let hint = hint_of(&parts.headers);
        let is_bound = hint.is_some() && parts.headers.contains_key(headers::REPLICA_ONLY);
        let first_byte = first_byte_of(&parts.headers);
        let mut set_headers = Vec::with_capacity(SET_HEADERS);
        set_headers.extend(id.map(|id| (headers::REQUEST_ID, id)));
        let mut outbound = Outbound {
            removed_headers: &NOT_FORWARDED,
            set_headers,
            ..Outbound::new(parts.method, path, parts.headers, body)
        };
        let request = EngineRequest {
            pool,
            model,
            hint: hint.as_ref(),
            is_bound,
            timeouts: Timeouts {
                first_byte: self.config.timeouts.first_byte.max(first_byte),
                ..self.config.timeouts
            },
        };
        self.dispatch(request, &mut outbound, span)
            .await
            .map_err(|error| self.refusal(pool, &error))
    }

    fn refusal(&self, pool: &PoolId, error: &DispatchError) -> Refusal {
        Refusal::new(pool, error, self.registry.pool_slots(pool))
    }
}

/// The replica that the gateway has chosen. Without a valid one the node chooses.
fn hint_of(headers: &HeaderMap) -> Option<ReplicaId> {
    ReplicaId::new(headers.get(headers::REPLICA_HINT)?.to_str().ok()?).ok()
}

/// How long the gateway waits for the first byte; zero if it does not say so.
fn first_byte_of(headers: &HeaderMap) -> Duration {
    let millis = headers
        .get(headers::FIRST_BYTE_MS)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or_default();
    Duration::from_millis(millis).min(Timeouts::LONGEST)
}

/// The model that the control plane names.
fn model_name(header: &HeaderValue) -> Result<&str, ApiError> {
    std::str::from_utf8(header.as_bytes())
        .map_err(|_| ApiError::invalid("the header X-Llorch-Model must be UTF-8"))
}

/// The engine's path, which starts at `start`. The gateway checks it as well, but a client with the
/// node's token can send requests to the node itself.
fn engine_path_of(parts: &Parts, start: usize) -> Result<PathAndQuery, ApiError> {
    let path = parts.uri.path().get(start..).unwrap_or_default();
    match classify(path) {
        Ok(EnginePath::Inference) => {}
        Ok(EnginePath::Administration) => {
            let reason = "there is no such route: a node does not forward engine administration";
            return Err(ApiError::new(ErrorCode::NotFound, reason));
        }
        Err(error) => return Err(ApiError::invalid(error.to_string())),
    }
    parts
        .uri
        .path_and_query()
        .and_then(|whole| whole.as_str().get(start..))
        .and_then(|path| path.parse().ok())
        .ok_or_else(|| ApiError::invalid("the path after /engine/ is not valid"))
}

/// The engine's response with this node's report.
fn with_report(served: EngineResponse) -> Response<ProxyBody> {
    let lease = served.lease();
    let slots = lease.slots();
    let replica = HeaderValue::from_str(lease.replica_id().as_str());
    let mut response = served.into_response();
    let headers = response.headers_mut();
    insert_slots(
        headers,
        slots.pool,
        [headers::SLOTS_FREE, headers::SLOTS_TOTAL],
    );
    if let Some(slots) = slots.replica {
        insert_slots(
            headers,
            slots,
            [headers::REPLICA_SLOTS_FREE, headers::REPLICA_SLOTS_TOTAL],
        );
    }
    if let Ok(replica) = replica {
        headers.insert(headers::REPLICA, replica);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_into_pool_and_engine_path() {
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
