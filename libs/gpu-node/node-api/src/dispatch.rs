//! Dispatches a request to an engine: claims a slot, forwards, and uses another engine where that
//! helps.

use std::{pin::pin, sync::Arc};

use engine_probe::{AbandonedRequests, log_changes};
use http::{Response, header::AUTHORIZATION};
use pool_registry::{Claim, ClaimError, PendingSlot, PoolRegistry, SlotLease};
use pool_registry_types::{PoolId, ReplicaId, headers};
use request_forwarding::{record_result, remove_own_headers, set_trace, within};
use stream_proxy::{ForwardError, Outbound, ProxyBody, StreamProxy, Timeouts};
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field};

use crate::{
    dispatch_error::{DispatchError, EngineFailure},
    metrics::NodeMetrics,
    slot::ClaimedSlot,
};

/// The most engines of a pool that one request is sent to. A refused connection costs nothing, but
/// an unanswered one costs a second, and the control plane has other nodes.
const MAX_ENGINES_TRIED: usize = 3;

/// The most engines of a pool that may fail one request before the node returns an error, beyond
/// the first. One failure is chance, two in a row point at the request. A second sending to the
/// same engine ([`Outbound::resend`]) counts as a failure.
///
/// A request with a hint fails with its first engine. Its sender knows the pool's engines, counts
/// the failure against the right one, and has a budget for further executions.
const MAX_RESETS: usize = 1;

/// Settings of the data path.
#[derive(Debug, Clone, Copy)]
pub struct DataPathConfig {
    /// The largest request body in bytes.
    pub max_body_bytes: usize,
    /// Time limits towards the engine.
    pub timeouts: Timeouts,
}

impl Default for DataPathConfig {
    /// 32 MiB, like the control plane, and the proxy's timeouts.
    fn default() -> Self {
        Self {
            max_body_bytes: 32 * 1024 * 1024,
            timeouts: Timeouts::default(),
        }
    }
}

/// Sends requests to the engines of a node, within their slots. Cloning is cheap and shares it.
///
/// Requests arrive over HTTP through a [`DataPath`](crate::DataPath), or from the same process: it
/// is a [`NodeTransport`](node_transport::NodeTransport) itself.
#[derive(Debug, Clone)]
pub struct Dispatcher(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) registry: PoolRegistry,
    proxy: StreamProxy,
    pub(crate) config: DataPathConfig,
    /// `None`: a slot is returned at once when its request is abandoned.
    abandoned_requests: Option<AbandonedRequests>,
    pub(crate) metrics: NodeMetrics,
    /// The span that names this node in log lines. It is enabled at every level, so entering it has
    /// a cost; requests enter it only for their rare log lines.
    pub(crate) node: Span,
}

impl Dispatcher {
    /// A dispatcher to the engines of `registry`. `abandoned_requests` keeps the slot of an
    /// abandoned request until its engine has stopped. Log lines are inside the current span.
    #[must_use]
    pub fn new(
        registry: PoolRegistry,
        proxy: StreamProxy,
        config: DataPathConfig,
        abandoned_requests: Option<AbandonedRequests>,
        metrics: NodeMetrics,
    ) -> Self {
        Self(Arc::new(Shared {
            registry,
            proxy,
            config,
            abandoned_requests,
            metrics,
            node: Span::current(),
        }))
    }
}

/// A request's choice of an engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EngineRequest<'a> {
    pub(crate) pool: &'a PoolId,
    pub(crate) model: Option<&'a str>,
    /// The replica that the gateway has chosen.
    pub(crate) hint: Option<&'a ReplicaId>,
    /// No other replica may serve the request.
    pub(crate) is_bound: bool,
    pub(crate) timeouts: Timeouts,
}

/// An engine's response and the slot that it occupies.
#[derive(Debug)]
pub(crate) struct EngineResponse {
    response: Response<ProxyBody>,
    slot: ClaimedSlot,
}

impl EngineResponse {
    pub(crate) fn lease(&self) -> &SlotLease {
        self.slot.lease()
    }

    /// The response. Its body returns the slot when the engine has finished.
    pub(crate) fn into_response(self) -> Response<ProxyBody> {
        let Self { mut response, slot } = self;
        let body = response.body_mut();
        if body.is_complete() {
            slot.done();
        } else {
            body.attach(Box::new(slot));
        }
        response
    }
}

impl Shared {
    /// Sends a request to an engine of the pool. `span` covers the request.
    pub(crate) async fn dispatch(
        &self,
        request: EngineRequest<'_>,
        outbound: &mut Outbound,
        span: &Span,
    ) -> Result<EngineResponse, DispatchError> {
        let mut search = EngineSearch {
            shared: self,
            request,
            tried: Vec::new(),
            wake_by: None,
        };
        let mut slot = search.find().await?;
        let max_resets = if request.hint.is_some() {
            0
        } else {
            MAX_RESETS
        };
        let mut resets = 0;
        loop {
            if !span.is_disabled() {
                span.record("replica_id", slot.lease().replica_id().as_str());
            }
            let error = match self.send_to(slot.lease(), outbound, request.timeouts).await {
                Ok(mut response) => {
                    slot.answered();
                    // The engine must not speak for this node.
                    remove_own_headers(response.headers_mut());
                    return Ok(EngineResponse { response, slot });
                }
                Err(error) => error,
            };
            let lease = slot.lease();
            let failure = EngineFailure::new(lease, error);
            self.node
                .in_scope(|| failure.log(request_id(outbound), request.model));
            if failure.is_reset() {
                resets += 1;
                outbound.resend.forbid();
            }
            let executions = resets + usize::from(outbound.resend.was_used());
            let is_unsent = failure.is_unsent();
            if !(is_unsent || (failure.is_reset() && executions <= max_resets)) {
                return Err(failure.into());
            }
            search.tried.push(lease.replica_id().clone());
            if failure.is_unreachable() {
                self.report_unreachable(lease, request_id(outbound), request.model);
            }
            if is_unsent {
                slot.done();
            }
            if search.tried.len() >= MAX_ENGINES_TRIED {
                return Err(failure.into());
            }
            slot = match search.find().await {
                Ok(other) => other,
                // The sender should rather know that the request may be served soon than that one
                // engine failed. The gateway counts an attempt if an engine may have started it.
                Err(other) if other.is_momentary() => return Err(other.after(executions)),
                Err(_) => return Err(failure.into()),
            };
        }
    }

    fn report_unreachable(&self, lease: &SlotLease, request_id: Option<&str>, model: Option<&str>) {
        self.node.in_scope(|| {
            let span = tracing::error_span!("request", request_id, model);
            span.in_scope(|| {
                log_changes(lease.pool_id(), lease.replica_id(), &lease.unreachable());
            });
        });
    }

    async fn send_to(
        &self,
        lease: &SlotLease,
        outbound: &mut Outbound,
        timeouts: Timeouts,
    ) -> Result<Response<ProxyBody>, ForwardError> {
        let span = tracing::debug_span!(
            target: telemetry::REQUEST,
            "dispatch",
            otel.kind = "client",
            otel.status_code = field::Empty,
            replica_id = %lease.replica_id(),
            status = field::Empty,
        );
        set_trace(outbound, &span);
        if let Some(key) = lease.key() {
            outbound.set_headers.push((AUTHORIZATION, key.header()));
        }
        let result = {
            let sending = pin!(self.proxy.forward(lease.url(), outbound, timeouts));
            within(&span, sending).await
        };
        if lease.key().is_some() {
            // The request may go to another engine, or to another node.
            (outbound.set_headers).retain(|(name, _)| *name != AUTHORIZATION);
        }
        record_result(&span, result.as_ref().ok().map(Response::status));
        result
    }
}

/// The search for an engine with a free slot.
struct EngineSearch<'a> {
    shared: &'a Shared,
    request: EngineRequest<'a>,
    tried: Vec<ReplicaId>,
    /// When a sleeping engine must be ready, once one is woken.
    wake_by: Option<Instant>,
}

impl EngineSearch<'_> {
    /// Claims a slot of an engine that was not tried. When all slots of the engines that are awake
    /// are taken, a sleeping engine is woken. One that does not wake counts as tried.
    async fn find(&mut self) -> Result<ClaimedSlot, DispatchError> {
        let span = tracing::debug_span!(target: telemetry::REQUEST, "admission");
        match span.in_scope(|| self.claim(None))? {
            Claim::Slot(lease) => Ok(self.slot(lease)),
            // Boxed: few requests wake an engine, and every request moves the futures around this
            // one.
            Claim::Pending(slot) => Box::pin(self.wake(slot)).instrument(span).await,
        }
    }

    /// `wake_error`: why an engine that was woken did not become ready.
    fn claim(&self, wake_error: Option<ClaimError>) -> Result<Claim, DispatchError> {
        let EngineRequest {
            pool,
            model,
            hint,
            is_bound,
            ..
        } = self.request;
        let registry = &self.shared.registry;
        let claimed = match hint.filter(|_| is_bound) {
            // An engine that has to start does not hold anything yet.
            Some(replica) => registry
                .claim_of(pool, replica, model, &self.tried)
                .map(Claim::Slot),
            None => registry.claim_or_start(pool, model, hint, &self.tried),
        };
        claimed.map_err(|error| match error {
            ClaimError::NotReady(_) => DispatchError::no_slot(wake_error.unwrap_or(error)),
            error => DispatchError::no_slot(error),
        })
    }

    async fn wake(&mut self, mut slot: PendingSlot) -> Result<ClaimedSlot, DispatchError> {
        loop {
            let replica = slot.replica_id().clone();
            let error = match tokio::time::timeout_at(self.wake_by(), slot.ready()).await {
                Ok(Ok(lease)) => return Ok(self.slot(lease)),
                Ok(Err(error @ ClaimError::NotReady(_))) => error,
                Ok(Err(error)) => return Err(DispatchError::no_slot(error)),
                Err(_elapsed) => {
                    let deadline = self.request.timeouts.deadline;
                    let is_deadline = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                    return Err(DispatchError::StillAsleep { is_deadline });
                }
            };
            self.tried.push(replica);
            slot = match self.claim(Some(error))? {
                Claim::Slot(lease) => return Ok(self.slot(lease)),
                Claim::Pending(slot) => slot,
            };
        }
    }

    /// A request waits for a start as long as its pool says, otherwise as long as for the first
    /// byte of a stream. Whether its own answer is streamed makes no difference.
    fn wake_by(&mut self) -> Instant {
        let (shared, request) = (self.shared, &self.request);
        *self.wake_by.get_or_insert_with(|| {
            let limit = shared.registry.queue_timeout(request.pool);
            let limit = limit.unwrap_or(shared.config.timeouts.first_byte);
            let wake_by = Instant::now() + limit;
            (request.timeouts.deadline).map_or(wake_by, |deadline| deadline.min(wake_by))
        })
    }

    fn slot(&self, lease: SlotLease) -> ClaimedSlot {
        ClaimedSlot::new(lease, self.shared.abandoned_requests.as_ref())
    }
}

/// The id of a request that goes to an engine.
fn request_id(outbound: &Outbound) -> Option<&str> {
    let (_, id) = outbound
        .set_headers
        .iter()
        .find(|(name, _)| *name == headers::REQUEST_ID)?;
    id.to_str().ok()
}
