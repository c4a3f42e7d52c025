//! Serves one inference request: gets a slot, sends the request, and sends it again where that
//! helps.

use std::{pin::pin, sync::Arc};

use admission::{AcquireRequest, Admission, Lease, RefusalReason, Ticket};
use http::{Response, request::Parts};
use http_server::RequestBody;
use node_transport::{NodeRequest, NodeResponse, NodeTransport, TransportError};
use parking_lot::Mutex;
use pool_registry_types::ErrorCode;
use request_forwarding::{record_result, set_trace, within};
use routing_table::Endpoint;
use tokio::time::Instant;
use tracing::{Instrument as _, field};

use crate::{
    attempt::{FailedAttempt, SentAttempt, classify_error, classify_response},
    body::GatewayBody,
    config::GatewayConfig,
    dialect::Dialect,
    error::GatewayError,
    error_response::error_response,
    inference_request::InferenceRequest,
    key_use::{KeyCounters, KeyUse},
    log_context::log_request,
    metrics::GatewayMetrics,
    observer::RequestObserver,
    redirect::refuse_redirect,
    response::ClientResponse,
    response_headers::insert_quota,
    retry::RetryDecision,
    retry_budget::RetryBudget,
    route::Route,
    stored_responses::{ResponseIdReader, ResponseOwner, StoredResponses},
    whole_answer::{has_json_error, may_be_a_proxys},
};

/// Serves inference requests.
#[derive(Debug)]
pub(crate) struct Inference {
    pub(crate) config: GatewayConfig,
    pub(crate) admission: Admission,
    transport: Arc<dyn NodeTransport>,
    budget: Mutex<RetryBudget>,
    metrics: GatewayMetrics,
    pub(crate) responses: Arc<StoredResponses>,
    pub(crate) keys: KeyCounters,
    started: Instant,
}

impl Inference {
    pub(crate) fn new(
        config: GatewayConfig,
        admission: Admission,
        transport: Arc<dyn NodeTransport>,
        metrics: GatewayMetrics,
    ) -> Self {
        Self {
            config,
            admission,
            transport,
            budget: Mutex::new(RetryBudget::new()),
            metrics,
            responses: Arc::default(),
            keys: KeyCounters::default(),
            started: Instant::now(),
        }
    }

    /// Takes one retry from the gateway's budget; false when there is none left.
    fn spend_retry(&self) -> bool {
        self.budget.lock().spend(self.started.elapsed())
    }

    /// Serves a request for `route`. One for a stored response goes to its `owner`. Dropping the
    /// future, or the response's body, cancels the request up to the engine. Takes the headers out
    /// of `parts`.
    pub(crate) async fn serve(
        &self,
        route: Route,
        owner: Option<ResponseOwner>,
        parts: &mut Parts,
        body: &mut RequestBody,
    ) -> Response<GatewayBody> {
        let id = body.request_id().cloned();
        let mut observer = RequestObserver::start(&self.metrics, route, id, &parts.headers);
        if route.dialect == Dialect::Responses {
            observer.find_response_id(ResponseIdReader::new(&self.responses));
        }
        let span = observer.span();
        let forwarded = {
            let forwarding = pin!(self.forward(parts, body, owner, &mut observer));
            within(&span, forwarding).await
        };
        let quota = observer.key().map(KeyUse::quota).copied();
        let mut response = match forwarded {
            Ok((response, lease)) => response.into_response(lease, observer),
            Err(error) => {
                observer.refused(&error, |model| self.admission.names(model));
                let retry = observer.retry_of_valid_request();
                error_response(&error, route.dialect, retry, observer.request_id())
            }
        };
        if let Some(quota) = quota {
            insert_quota(response.headers_mut(), &quota);
        }
        response
    }

    /// Sends the request until an endpoint serves it or [`RetryState`](crate::retry::RetryState)
    /// gives up.
    async fn forward(
        &self,
        parts: &mut Parts,
        body: &mut RequestBody,
        owner: Option<ResponseOwner>,
        observer: &mut RequestObserver,
    ) -> Result<(ClientResponse, Lease), GatewayError> {
        // Before the body is read: a request beyond a limit costs next to nothing.
        observer.start_key(&self.keys, body.principal())?;
        let (config, admission) = (&self.config, &self.admission);
        let responses = &self.responses;
        // In a block, so that the request has one place in the future.
        let mut forwarding = {
            let reading =
                InferenceRequest::read(parts, body, config, admission, responses, owner, observer);
            let request = reading.await?;
            self.budget.lock().earn();
            // Of the replicas on its node, only the owner may be chosen.
            let owner = request.owner.as_ref();
            let others = owner.map(|owner| admission.others_on_node(&owner.model, &owner.endpoint));
            Forwarding {
                inference: self,
                excluded: others.unwrap_or_default(),
                request,
                ticket: None,
                last_error: None,
            }
        };
        loop {
            let mut lease = forwarding.acquire(observer).await?;
            observer.placed(lease.endpoint());
            let sent = forwarding.send(&lease, observer).await;
            let received = match sent {
                Ok(response) => {
                    let mut response = ClientResponse::new(response, &mut lease, observer);
                    let read = response.read_small(&mut lease, observer).await;
                    read.map(|()| response)
                }
                Err(error) => Err(error),
            };
            match received {
                Ok(response) => {
                    let needed = response.refused_context(lease.endpoint().context_length());
                    match needed {
                        Some(least) if forwarding.may_fit(least, observer) => {
                            // Its slot is free again before the next one is acquired.
                            drop(lease);
                            observer.retried();
                        }
                        _ => return Ok((response, lease)),
                    }
                }
                Err(failed) => forwarding.retry(failed, lease, observer)?,
            }
        }
    }
}

/// A request on its way to an endpoint.
struct Forwarding<'a> {
    inference: &'a Inference,
    request: InferenceRequest,
    /// Endpoints that failed the request, as they were then.
    excluded: Vec<Arc<Endpoint>>,
    /// The request's place in the order of arrival, once it has one.
    ticket: Option<Ticket>,
    last_error: Option<GatewayError>,
}

impl Forwarding<'_> {
    /// Waits for a slot of an endpoint.
    async fn acquire(&mut self, observer: &mut RequestObserver) -> Result<Lease, GatewayError> {
        let admission = &self.inference.admission;
        observer.retry.acquiring(Instant::now());
        let span = tracing::debug_span!(
            target: telemetry::REQUEST,
            "admission",
            attempt = observer.retry.attempts().saturating_add(1),
        );
        let wanted = AcquireRequest {
            model: observer.model(),
            priority: self.request.priority,
            preference: &self.request.preference,
            tried: &self.excluded,
            ticket: self.ticket,
            flow: observer.key().map(KeyUse::flow).unwrap_or_default(),
        };
        let (deadline, time_left) = (observer.retry.deadline(), observer.retry.queue_time_left());
        let acquired = {
            let acquiring = pin!(admission.acquire_within(wanted, deadline, time_left));
            within(&span, acquiring).await
        };
        match acquired {
            Ok(lease) => {
                if let Err(error) = observer.check_key_again(&self.inference.keys) {
                    observer.retry.not_acquired(Instant::now());
                    return Err(error);
                }
                let waited_until = lease.has_waited().then(Instant::now);
                observer.retry.acquired(waited_until);
                self.ticket = Some(lease.ticket());
                Ok(lease)
            }
            Err(refusal) => {
                observer.retry.not_acquired(Instant::now());
                let alias = self.request.alias.as_deref();
                Err(match self.last_error.take() {
                    Some(error) if refusal.reason == RefusalReason::Exhausted => {
                        self.with_retry_after(error, observer.model())
                    }
                    _ => GatewayError::no_slot(&refusal, observer.model(), alias),
                })
            }
        }
    }

    /// Sends the request to the endpoint of `lease`.
    async fn send(
        &mut self,
        lease: &Lease,
        observer: &RequestObserver,
    ) -> Result<NodeResponse, FailedAttempt> {
        let endpoint = lease.endpoint();
        let span = tracing::debug_span!(
            target: telemetry::REQUEST,
            "dispatch",
            otel.kind = "client",
            otel.status_code = field::Empty,
            endpoint = %endpoint.key(),
            attempt = observer.retry.attempts(),
            status = field::Empty,
        );
        let outbound = &mut self.request.outbound;
        set_trace(outbound, &span);
        let is_stream = self.request.is_stream;
        let sent = SentAttempt {
            is_stream,
            starts_engine: lease.starts_engine(),
        };
        let config = &self.inference.config;
        let mut timeouts = config.timeouts_of(is_stream, observer.retry.deadline());
        if sent.starts_engine {
            // The node lets the request wait for the start as long as its pool says.
            let start = endpoint.queue_timeout().unwrap_or_default();
            timeouts.first_byte = timeouts.first_byte.saturating_add(start);
        }
        let sending = self.inference.transport.send(NodeRequest {
            endpoint,
            is_bound: self.request.owner.is_some(),
            model: observer.model(),
            outbound,
            timeouts,
        });
        let mut response = {
            let result = sending.instrument(span.clone()).await;
            let status = result.as_ref().map(|response| response.response.status());
            record_result(&span, status.ok());
            if let Err(TransportError::Failed { error, .. } | TransportError::Unreachable(error)) =
                &result
            {
                log_request!(
                    info,
                    observer.log_context(),
                    error = error as &dyn std::error::Error,
                    "an attempt failed"
                );
            }
            result.map_err(|error| classify_error(error, sent, observer.log_context()))?
        };
        // Boxed: few responses are read here, and every request moves this future.
        let has_json_error = may_be_a_proxys(response.response.status())
            && Box::pin(has_json_error(&mut response.response))
                .await
                .unwrap_or(false);
        classify_response(&response, has_json_error)?;
        refuse_redirect(&response, observer.log_context())?;
        Ok(response)
    }

    /// An engine has refused the request because it needs a context of `least` tokens. Whether
    /// another endpoint has it, and is tried next.
    fn may_fit(&mut self, least: u32, observer: &mut RequestObserver) -> bool {
        let admission = &self.inference.admission;
        let may_fit =
            admission.has_context(observer.model(), least) && observer.retry.refused_for_context();
        if may_fit {
            Arc::make_mut(&mut self.request.preference).context.at_least = Some(least);
        }
        may_fit
    }

    /// Returns the slot of a failed attempt. An error means that there is no further attempt.
    fn retry(
        &mut self,
        failed: FailedAttempt,
        mut lease: Lease,
        observer: &mut RequestObserver,
    ) -> Result<(), GatewayError> {
        lease.used(failed.replica.as_ref());
        if let Some(outcome) = failed.signal.lease_outcome() {
            lease.ended(outcome);
        }
        let endpoint = Arc::clone(lease.endpoint());
        // First, so that admission knows of the failure when it computes `Retry-After`.
        drop(lease);
        let resend = &self.request.outbound.resend;
        let failure = failed.failure(resend.was_used());
        let decision = match failure {
            Some(failure) => observer.retry.failed(failure, Instant::now()),
            None => RetryDecision::GiveUp,
        };
        let RetryDecision::Retry {
            excludes_endpoint,
            was_executed,
        } = decision
        else {
            return Err(self.with_retry_after(failed.error, observer.model()));
        };
        if was_executed {
            resend.forbid();
            if !self.inference.spend_retry() {
                return Err(self.with_retry_after(failed.error, observer.model()));
            }
        }
        if excludes_endpoint || failed.excludes_endpoint() {
            self.excluded.push(endpoint);
        }
        observer.retried();
        self.last_error = Some(failed.error);
        Ok(())
    }

    /// Tells the client of a busy endpoint, or of one that cannot serve now, when to try again:
    /// admission knows.
    fn with_retry_after(&self, error: GatewayError, model: &str) -> GatewayError {
        let admission = &self.inference.admission;
        let retry_after = match error.code {
            ErrorCode::QueueFull => Some(admission.retry_after(model)),
            ErrorCode::PoolUnavailable => Some(admission.retry_after_outage()),
            _ => None,
        };
        GatewayError {
            retry_after: retry_after.or(error.retry_after),
            ..error
        }
    }
}
