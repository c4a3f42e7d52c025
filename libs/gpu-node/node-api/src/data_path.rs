//! The guarded way to an engine.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{body::Body as ControlBody, response::IntoResponse};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response,
    header::{AUTHORIZATION, EXPECT},
    uri::PathAndQuery,
};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Either;
use http_server::{ApiError, HttpService, RequestBody};
use pool_registry::{PoolRegistry, PoolSlots, SlotLease};
use pool_registry_types::{ErrorCode, PoolId, headers};
use stream_proxy::{Clocks, ForwardError, Outbound, ProxyBody, StreamError, StreamProxy};

const PREFIX: &str = "/v2/pools/";
const ENGINE: &str = "/engine/";

/// Credentials and hints that are for this hop, and llama-server's resumable streams, which would go on
/// generating after the client has left.
const NOT_FORWARDED: [HeaderName; 4] = [
    AUTHORIZATION,
    EXPECT,
    headers::MODEL,
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
}

/// The body of a node's answer: an engine's, or one of our own.
pub type NodeBody = Either<EngineBody, ControlBody>;

impl<S> DataPath<S> {
    /// The way to the engines of `registry`, before `inner`.
    #[must_use]
    pub fn new(registry: PoolRegistry, proxy: StreamProxy, config: DataPathConfig, inner: S) -> Self {
        Self {
            shared: Arc::new(Shared {
                registry,
                proxy,
                config,
            }),
            inner,
        }
    }
}

impl<S: HttpService<Body = ControlBody>> HttpService for DataPath<S> {
    type Body = NodeBody;

    async fn respond(self, request: Request<RequestBody>) -> Response<NodeBody> {
        let Some((pool, path)) = engine_path(request.uri().path()) else {
            return self.inner.respond(request).await.map(Either::Right);
        };
        // The path that goes on begins with the slash before its first part.
        let after = request.uri().path().len() - path.len() - 1;
        let answer = match PoolId::new(pool) {
            Ok(pool) => self.shared.serve(&pool, after, request).await,
            Err(error) => Err(Refusal::from(ApiError::invalid(error.to_string()))),
        };
        answer.map_or_else(
            |refusal| refusal.into_response().map(Either::Right),
            |answer| answer.map(Either::Left),
        )
    }
}

/// The pool and the engine's path in a path of the data path.
fn engine_path(path: &str) -> Option<(&str, &str)> {
    let (pool, path) = path.strip_prefix(PREFIX)?.split_once(ENGINE)?;
    (!pool.contains('/')).then_some((pool, path))
}

/// An error, and the pool's slots where there is a pool.
struct Refusal {
    error: ApiError,
    slots: Option<PoolSlots>,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { error, slots: None }
    }
}

impl Refusal {
    fn into_response(self) -> Response<ControlBody> {
        let code = HeaderValue::from_static(self.error.code.as_str());
        let mut response = self.error.into_response();
        response.headers_mut().insert(headers::REFUSAL, code);
        if let Some(slots) = self.slots {
            tell(response.headers_mut(), slots);
        }
        response
    }
}

fn tell(answer: &mut HeaderMap, slots: PoolSlots) {
    answer.insert(headers::SLOTS_FREE, HeaderValue::from(slots.free));
    answer.insert(headers::SLOTS_TOTAL, HeaderValue::from(slots.total));
}

impl Shared {
    async fn serve(
        &self,
        pool: &PoolId,
        after: usize,
        request: Request<RequestBody>,
    ) -> Result<Response<EngineBody>, Refusal> {
        let (parts, body) = request.into_parts();
        let model = match parts
            .headers
            .get(headers::MODEL)
            .map(|model| std::str::from_utf8(model.as_bytes()))
        {
            Some(Err(_)) => return Err(ApiError::invalid("the header X-Llorch-Model must be UTF-8").into()),
            Some(Ok(model)) => Some(model),
            None => None,
        };
        let lease = self.registry.claim(pool, model).map_err(|error| Refusal {
            slots: self.registry.pool_slots(pool),
            error: ApiError::new(error.code(), format!("pool {pool}: {error}")),
        })?;
        let path = parts
            .uri
            .path_and_query()
            .and_then(|whole| whole.as_str().get(after..));
        let path: PathAndQuery = path
            .and_then(|path| path.parse().ok())
            .ok_or_else(|| ApiError::invalid("the path after /engine/ is not valid"))?;
        let body = body
            .read_all(self.config.max_body_bytes)
            .await
            .map_err(ApiError::from)?;
        let mut forwarded = parts.headers;
        for name in &NOT_FORWARDED {
            forwarded.remove(name);
        }
        let outbound = Outbound {
            method: parts.method,
            path,
            headers: forwarded,
            body,
        };
        let answer = self
            .proxy
            .forward(lease.url(), &outbound, self.config.clocks)
            .await;
        let (mut parts, body) = match answer {
            Ok(answer) => answer.into_parts(),
            Err(error) => {
                return Err(Refusal {
                    slots: Some(lease.pool_slots()),
                    error: failed(&lease, &error),
                });
            }
        };
        tell(&mut parts.headers, lease.pool_slots());
        if let Ok(replica) = HeaderValue::from_str(lease.replica_id().as_str()) {
            parts.headers.insert(headers::REPLICA, replica);
        }
        Ok(Response::from_parts(
            parts,
            EngineBody {
                body,
                lease: Some(lease),
            },
        ))
    }
}

/// What the control plane is told when the engine did not answer.
fn failed(lease: &SlotLease, error: &ForwardError) -> ApiError {
    let engine = format!("engine {}/{}", lease.pool_id(), lease.replica_id());
    tracing::info!(
        pool_id = %lease.pool_id(),
        replica_id = %lease.replica_id(),
        error = error as &dyn std::error::Error,
        "an engine did not answer"
    );
    match error {
        ForwardError::Connect { .. } | ForwardError::ConnectTimeout { .. } => {
            lease.unreachable();
            ApiError::new(ErrorCode::PoolUnavailable, format!("{engine} cannot be reached"))
        }
        ForwardError::Reset { .. } => ApiError::new(
            ErrorCode::WorkerReset,
            format!("{engine} broke off before it answered"),
        ),
        ForwardError::FirstByte { .. } | ForwardError::Deadline { .. } => ApiError::new(
            ErrorCode::DeadlineExceeded,
            format!("{engine} did not begin to answer in time"),
        ),
        ForwardError::Uri { .. } => ApiError::invalid("the path after /engine/ is not valid"),
    }
}

/// An engine's answer on its way through; the slot comes back with its end, or when the reader leaves.
#[derive(Debug)]
pub struct EngineBody {
    body: ProxyBody,
    lease: Option<SlotLease>,
}

impl Body for EngineBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.lease = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
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
