//! The guarded way to an engine.

use std::sync::Arc;

use axum::body::Body as ControlBody;
use engine_probe::{Aftercare, report};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{AUTHORIZATION, EXPECT},
    request::Parts,
    uri::PathAndQuery,
};
use http_body_util::Either;
use http_server::{ApiError, HttpService, RequestBody, RequestId};
use pool_registry::{Claim, ClaimError, PoolRegistry, SlotLease};
use pool_registry_types::{ErrorCode, PoolId, ReplicaId, headers};
use stream_proxy::{Clocks, Outbound, ProxyBody, StreamProxy};
use tokio::time::Instant;

use crate::{
    NodeMetrics,
    engine_body::EngineBody,
    refusal::{NoAnswer, Refusal, tell},
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
/// in a row point at the request.
const MAX_RESETS: usize = 1;

/// Credentials and hints that are for this hop, and llama-server's resumable streams, which would go on
/// generating after the client has left.
static NOT_FORWARDED: [HeaderName; 3] = [
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
}

/// The body of a node's answer: an engine's, or one of our own.
pub type NodeBody = Either<EngineBody, ControlBody>;

impl<S> DataPath<S> {
    /// The way to the engines of `registry`, before `inner`. `aftercare` keeps the slot of a request that was given
    /// up until its engine has stopped.
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
            }),
            inner,
        }
    }
}

impl<S: HttpService<Body = ControlBody>> HttpService for DataPath<S> {
    type Body = NodeBody;

    async fn respond(self, request: Request<RequestBody>) -> Response<NodeBody> {
        // They would make a tunnel or an echo of this process or of an engine.
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            let error = ApiError::new(
                ErrorCode::MethodNotAllowed,
                "this server takes neither CONNECT nor TRACE",
            );
            return Refusal::from(error).into_response().map(Either::Right);
        }
        let Some((pool, path)) = engine_path(request.uri().path()) else {
            return self.inner.respond(request).await.map(Either::Right);
        };
        // The path that goes on begins with the slash before its first part.
        let after = request.uri().path().len() - path.len() - 1;
        let answer = match PoolId::new(pool) {
            Ok(pool) => {
                let answer = self.shared.serve(&pool, after, request).await;
                self.shared
                    .metrics
                    .count(&pool, answer.as_ref().err().map(Refusal::code));
                answer
            }
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

impl Shared {
    async fn serve(
        &self,
        pool: &PoolId,
        after: usize,
        request: Request<RequestBody>,
    ) -> Result<Response<EngineBody>, Refusal> {
        let (mut parts, body) = request.into_parts();
        let model = model_of(&mut parts.headers)?;
        let model = model.as_deref();
        // Before the body is read: who comes in vain shall know at once. And without a slot: a body that takes its
        // time must not keep others waiting.
        self.registry
            .check_room(pool, model)
            .map_err(|error| self.no_slot(pool, &error))?;
        let path = engine_path_of(&parts, after)?;
        let id = parts.extensions.get::<RequestId>();
        let own = id.map(|id| (headers::REQUEST_ID, id.header_value()));
        let body = body
            .read_all(self.config.max_body_bytes)
            .await
            .map_err(ApiError::from)?;
        let outbound = Outbound {
            withheld: &NOT_FORWARDED,
            own: own.into_iter().collect(),
            ..Outbound::new(parts.method, path, parts.headers, body)
        };
        // How long the node may take until its answer begins, asleep or awake.
        let until = Instant::now() + self.config.clocks.first_byte;
        let mut tried = Vec::new();
        let mut slot = self.find(pool, model, &mut tried, until).await?;
        let mut resets = 0;
        loop {
            let why = match self.ask(slot.lease(), &outbound).await {
                Ok(answer) => return Ok(answered(answer, slot)),
                Err(why) => why,
            };
            let lease = slot.lease();
            why.log(lease);
            let refusal = Refusal::no_answer(lease, &why);
            resets += usize::from(why.is_reset());
            let may_go_elsewhere = why.is_unreachable() || (why.is_reset() && resets <= MAX_RESETS);
            if !may_go_elsewhere {
                return Err(refusal);
            }
            tried.push(lease.replica_id().clone());
            if why.is_unreachable() {
                report(lease.pool_id(), lease.replica_id(), &lease.unreachable());
                slot.done();
            }
            if tried.len() >= MAX_ENGINES_TRIED {
                return Err(refusal);
            }
            slot = match self.find(pool, model, &mut tried, until).await {
                Ok(other) => other,
                // That it may be served soon is worth more to know than that one engine is gone.
                Err(other) if other.is_momentary() => return Err(other),
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

    async fn ask(&self, lease: &SlotLease, outbound: &Outbound) -> Result<Response<ProxyBody>, NoAnswer> {
        let answer = self
            .proxy
            .forward(lease.url(), outbound, self.config.clocks)
            .await
            .map_err(NoAnswer::Failed)?;
        if answer.status().is_informational() {
            return Err(NoAnswer::SwitchedProtocols);
        }
        Ok(answer)
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

/// The path that is the engine's: what begins at `after`.
fn engine_path_of(parts: &Parts, after: usize) -> Result<PathAndQuery, ApiError> {
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
