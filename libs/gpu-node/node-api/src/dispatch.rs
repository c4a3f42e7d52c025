//! From a request to an engine's answer: claim a slot, forward, and go to another engine where that
//! helps.

use std::sync::Arc;

use engine_probe::{AbandonedRequests, report};
use http::{HeaderName, HeaderValue, Response};
use pool_registry::{Claim, ClaimError, PoolRegistry, PromisedSlot, SlotLease};
use pool_registry_types::{PoolId, ReplicaId, headers};
use stream_proxy::{Outbound, ProxyBody, StreamProxy, Timeouts};
use telemetry::TRACEPARENT;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field};

use crate::{
    NodeMetrics,
    not_served::{NotServed, Unanswered},
    slot::Slot,
};

/// How many engines of a pool one request is tried on. A refusal of the connection costs nothing,
/// but an engine whose machine is gone costs a second, and the control plane has other nodes.
const MAX_ENGINES_TRIED: usize = 3;

/// How many engines of a pool may break off under one request before it is given back: one that
/// dies is chance, two in a row point at the request. A second sending to the same engine
/// ([`Outbound::resend`]) counts as one of them.
///
/// A request with a hint is given back after the first: its sender knows the pool's engines one by
/// one, so that it can hold the failure against the right one, and it has a budget for further
/// executions.
const MAX_RESETS: usize = 1;

/// Begins the names of the headers in which this project speaks to itself.
const OUR_PREFIX: &str = "x-llorch-";

/// What the data path may be told.
#[derive(Debug, Clone, Copy)]
pub struct DataPathConfig {
    /// The largest request body in bytes.
    pub max_body_bytes: usize,
    /// Time limits towards the engine.
    pub clocks: Timeouts,
}

impl Default for DataPathConfig {
    /// 32 MiB, as the control plane, and the proxy's clocks.
    fn default() -> Self {
        Self {
            max_body_bytes: 32 * 1024 * 1024,
            clocks: Timeouts::default(),
        }
    }
}

/// The guarded way to the engines of a node. Cloning is cheap and shares it.
///
/// Requests come to it over HTTP, through a [`DataPath`](crate::DataPath), or from the same
/// process: it is a [`NodeTransport`](node_transport::NodeTransport) itself.
#[derive(Debug, Clone)]
pub struct Dispatcher(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) registry: PoolRegistry,
    proxy: StreamProxy,
    pub(crate) config: DataPathConfig,
    /// `None`: a slot comes back at once when its request is abandoned.
    abandoned_requests: Option<AbandonedRequests>,
    pub(crate) metrics: NodeMetrics,
    /// What says in each line which node this is. Requests are served outside of it: it is on at
    /// every level, so entering it costs, and a line about a request is rare.
    pub(crate) node: Span,
}

impl Dispatcher {
    /// The way to the engines of `registry`. `abandoned_requests` keeps the slot of an abandoned request
    /// until its engine has stopped. The span it is made in is around each line that it logs.
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

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) pool: &'a PoolId,
    pub(crate) model: Option<&'a str>,
    /// The replica that its sender has chosen.
    pub(crate) hint: Option<&'a ReplicaId>,
    pub(crate) clocks: Timeouts,
}

/// An engine's answer and the slot that it occupies.
#[derive(Debug)]
pub(crate) struct Served {
    response: Response<ProxyBody>,
    slot: Slot,
}

impl Served {
    pub(crate) fn lease(&self) -> &SlotLease {
        self.slot.lease()
    }

    /// The answer; its body gives the slot back when the engine is done with it.
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
    /// Sends a request to an engine of the pool; `span` is around all that is done for it.
    pub(crate) async fn serve(
        &self,
        wanted: Wanted<'_>,
        outbound: &mut Outbound,
        span: &Span,
    ) -> Result<Served, NotServed> {
        let mut search = Search {
            shared: self,
            wanted,
            tried: Vec::new(),
            until: None,
        };
        let mut slot = search.find().await?;
        let max_resets = if wanted.hint.is_some() { 0 } else { MAX_RESETS };
        let mut resets = 0;
        loop {
            if !span.is_disabled() {
                span.record("replica_id", slot.lease().replica_id().as_str());
            }
            let error = match self.ask(slot.lease(), outbound, wanted.clocks).await {
                Ok(response) => {
                    slot.answered();
                    return Ok(answered(response, slot));
                }
                Err(error) => error,
            };
            let lease = slot.lease();
            let unanswered = Unanswered::new(lease, error);
            self.node
                .in_scope(|| unanswered.log(request_id(outbound), wanted.model));
            if unanswered.is_reset() {
                resets += 1;
                outbound.resend.forbid();
            }
            let executions = resets + usize::from(outbound.resend.was_used());
            let is_unreachable = unanswered.is_unreachable();
            if !(is_unreachable || (unanswered.is_reset() && executions <= max_resets)) {
                return Err(unanswered.into());
            }
            search.tried.push(lease.replica_id().clone());
            if is_unreachable {
                self.report_unreachable(lease, request_id(outbound), wanted.model);
                slot.done();
            }
            if search.tried.len() >= MAX_ENGINES_TRIED {
                return Err(unanswered.into());
            }
            slot = match search.find().await {
                Ok(other) => other,
                // That the request may be served soon is worth more to know than that one engine is
                // gone. The gateway counts this as a try if an engine may have
                // begun with it.
                Err(other) if other.is_momentary() => return Err(other.after(executions)),
                Err(_) => return Err(unanswered.into()),
            };
        }
    }

    fn report_unreachable(&self, lease: &SlotLease, request_id: Option<&str>, model: Option<&str>) {
        self.node.in_scope(|| {
            let span = tracing::error_span!("request", request_id, model);
            span.in_scope(|| report(lease.pool_id(), lease.replica_id(), &lease.unreachable()));
        });
    }

    async fn ask(
        &self,
        lease: &SlotLease,
        outbound: &mut Outbound,
        clocks: Timeouts,
    ) -> Result<Response<ProxyBody>, stream_proxy::ForwardError> {
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
            outbound
                .set_headers
                .retain(|(name, _)| *name != TRACEPARENT);
            let value = HeaderValue::from_bytes(&trace.to_header());
            outbound
                .set_headers
                .extend(value.ok().map(|value| (TRACEPARENT, value)));
        }
        let sending = self.proxy.forward(lease.url(), outbound, clocks);
        let answer = sending.instrument(span.clone()).await;
        if !span.is_disabled() {
            match &answer {
                Ok(answer) => span.record("status", answer.status().as_u16()),
                Err(_) => span.record("otel.status_code", "ERROR"),
            };
        }
        answer
    }
}

/// The search for an engine that takes a request.
struct Search<'a> {
    shared: &'a Shared,
    wanted: Wanted<'a>,
    tried: Vec<ReplicaId>,
    /// Until when an engine that sleeps must be awake, once one is to be woken.
    until: Option<Instant>,
}

impl Search<'_> {
    /// A slot of an engine that was not tried. When all that are awake are taken, one that sleeps
    /// is woken and waited for. One that does not wake counts as tried.
    async fn find(&mut self) -> Result<Slot, NotServed> {
        let span = tracing::debug_span!(target: telemetry::REQUEST, "admission");
        match span.in_scope(|| self.claim(None))? {
            Claim::Slot(lease) => Ok(self.slot(lease)),
            // In a box: few requests wake an engine, and the futures around this one are moved for
            // all of them.
            Claim::Promised(slot) => Box::pin(self.wake(slot)).instrument(span).await,
        }
    }

    /// `why_not_woken`: why an engine that slept is not there, if one was to be woken.
    fn claim(&self, why_not_woken: Option<ClaimError>) -> Result<Claim, NotServed> {
        let Wanted {
            pool, model, hint, ..
        } = self.wanted;
        let registry = &self.shared.registry;
        let claimed = registry.claim_or_wake(pool, model, hint, &self.tried);
        claimed.map_err(|error| match error {
            ClaimError::NotReady(_) => NotServed::no_slot(why_not_woken.unwrap_or(error)),
            error => NotServed::no_slot(error),
        })
    }

    async fn wake(&mut self, mut slot: PromisedSlot) -> Result<Slot, NotServed> {
        loop {
            let replica = slot.replica_id().clone();
            let why = match tokio::time::timeout_at(self.until(), slot.awake()).await {
                Ok(Ok(lease)) => return Ok(self.slot(lease)),
                Ok(Err(why @ ClaimError::NotReady(_))) => why,
                Ok(Err(error)) => return Err(NotServed::no_slot(error)),
                Err(_elapsed) => {
                    let deadline = self.wanted.clocks.deadline;
                    let is_callers = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                    return Err(NotServed::StillAsleep { is_callers });
                }
            };
            self.tried.push(replica);
            slot = match self.claim(Some(why))? {
                Claim::Slot(lease) => return Ok(self.slot(lease)),
                Claim::Promised(slot) => slot,
            };
        }
    }

    /// The answer of an engine that sleeps must begin as soon as that of one that is awake.
    fn until(&mut self) -> Instant {
        let Timeouts {
            first_byte,
            deadline,
            ..
        } = self.wanted.clocks;
        *self.until.get_or_insert_with(|| {
            let first_byte = Instant::now() + first_byte;
            deadline.map_or(first_byte, |deadline| deadline.min(first_byte))
        })
    }

    fn slot(&self, lease: SlotLease) -> Slot {
        Slot::new(lease, self.shared.abandoned_requests.as_ref())
    }
}

/// The id of a request, as it goes on to the engine.
fn request_id(outbound: &Outbound) -> Option<&str> {
    let (_, id) = outbound
        .set_headers
        .iter()
        .find(|(name, _)| *name == headers::REQUEST_ID)?;
    id.to_str().ok()
}

/// The engine's answer, without what it says in the place of this node.
fn answered(mut response: Response<ProxyBody>, slot: Slot) -> Served {
    let answer = response.headers_mut();
    // Nearly always none, and then no memory is asked for.
    let claimed: Vec<HeaderName> = answer
        .keys()
        .filter(|name| name.as_str().starts_with(OUR_PREFIX))
        .cloned()
        .collect();
    for name in &claimed {
        answer.remove(name);
    }
    Served { response, slot }
}
