//! What one attempt says about its endpoint, and whether another endpoint may serve the request.

use std::time::SystemTime;

use admission::{EndpointFailure, LeaseOutcome};
use http::StatusCode;
use node_transport::{NodeRefusal, NodeResponse, TransportError, requested_pause};
use pool_registry_types::{ErrorCode, ReplicaId};
use stream_proxy::{ForwardError, StreamError};

use crate::{
    error::GatewayError,
    log_context::{LogContext, log_request},
    retry::FailureKind,
};

/// A response for the client.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) response: NodeResponse,
    /// What the response says about the endpoint, where its head decides that.
    pub(crate) outcome: Option<LeaseOutcome>,
}

/// Why an attempt brought no response for the client.
#[derive(Debug)]
pub(crate) enum AttemptError {
    /// The request ends: its own limits or this process are at fault, not the endpoint.
    Final(GatewayError),
    /// Another endpoint may serve the request.
    Retriable(FailedAttempt),
}

/// An attempt that failed because of its endpoint.
#[derive(Debug)]
pub(crate) struct FailedAttempt {
    pub(crate) outcome: LeaseOutcome,
    pub(crate) error: GatewayError,
    /// A node refused the request after one of its engines may have started it.
    pub(crate) executed: bool,
    /// The replica at fault, where it may differ from the chosen one.
    pub(crate) replica: Option<ReplicaId>,
    /// The endpoint would fail again in the same way.
    pub(crate) is_permanent: bool,
}

impl FailedAttempt {
    pub(crate) fn new(outcome: LeaseOutcome, code: ErrorCode, message: &'static str) -> Self {
        Self {
            outcome,
            error: GatewayError::new(code, message),
            executed: false,
            replica: None,
            is_permanent: false,
        }
    }

    pub(crate) fn kind(&self) -> FailureKind {
        match self.outcome {
            LeaseOutcome::Failed(
                EndpointFailure::Unreachable | EndpointFailure::NodeUnreachable,
            ) => FailureKind::Unreachable,
            LeaseOutcome::Refused { .. } | LeaseOutcome::PoolRefused { .. } => FailureKind::Refused,
            LeaseOutcome::Failed(EndpointFailure::Broken) | LeaseOutcome::Served => {
                FailureKind::Broken
            }
        }
    }
}

/// Classifies the result of sending a request to a node. `context` names the request in the log.
#[expect(
    clippy::result_large_err,
    reason = "a failed attempt is returned once a try, and a box would be an allocation"
)]
pub(crate) fn classify(
    result: Result<NodeResponse, TransportError>,
    context: LogContext<'_>,
) -> Result<Accepted, AttemptError> {
    match result {
        Ok(response) => classify_response(response).map_err(AttemptError::Retriable),
        Err(TransportError::Failed { error, replica }) => {
            Err(classify_failure(&error, replica, context))
        }
        Err(TransportError::Unreachable(error)) => {
            let error = GatewayError::attempt_failed(&error, context);
            Err(AttemptError::Retriable(FailedAttempt {
                outcome: LeaseOutcome::Failed(EndpointFailure::NodeUnreachable),
                error,
                executed: false,
                replica: None,
                is_permanent: false,
            }))
        }
        Err(TransportError::Refused(refusal)) => Err(classify_refusal(refusal, context)),
        Err(TransportError::NotANode(status)) => {
            log_request!(
                warn,
                context,
                status,
                "a response did not come from a node's data path: check that the node's address \
                 leads to its agent and that both have the same API token"
            );
            Err(AttemptError::Retriable(FailedAttempt {
                is_permanent: true,
                ..FailedAttempt::new(
                    LeaseOutcome::Failed(EndpointFailure::NodeUnreachable),
                    ErrorCode::NodeUnavailable,
                    "the node that serves this model cannot be reached",
                )
            }))
        }
    }
}

#[expect(
    clippy::result_large_err,
    reason = "a failed attempt is returned once a try, and a box would be an allocation"
)]
fn classify_response(response: NodeResponse) -> Result<Accepted, FailedAttempt> {
    match response.response.status() {
        // The engine's own queue is full: busy is not a failure.
        StatusCode::TOO_MANY_REQUESTS => {
            let pause = requested_pause(response.response.headers(), SystemTime::now());
            Err(FailedAttempt {
                replica: response.report.replica,
                ..FailedAttempt::new(
                    LeaseOutcome::Refused { pause },
                    ErrorCode::QueueFull,
                    "the engine is busy",
                )
            })
        }
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Err(FailedAttempt {
            replica: response.report.replica,
            ..FailedAttempt::new(
                LeaseOutcome::Failed(EndpointFailure::Broken),
                ErrorCode::PoolUnavailable,
                "the engine cannot serve at the moment",
            )
        }),
        // The request itself may be at fault: pass the response on, and remember it.
        status if status.is_server_error() => Ok(Accepted {
            response,
            outcome: Some(LeaseOutcome::Failed(EndpointFailure::Broken)),
        }),
        _ => Ok(Accepted {
            response,
            outcome: None,
        }),
    }
}

fn classify_failure(
    error: &ForwardError,
    replica: Option<ReplicaId>,
    context: LogContext<'_>,
) -> AttemptError {
    let gateway_error = GatewayError::attempt_failed(error, context);
    let failure = match error {
        ForwardError::Connect { .. } | ForwardError::ConnectTimeout { .. } => {
            EndpointFailure::Unreachable
        }
        ForwardError::Reset { .. } | ForwardError::FirstByte { .. } => EndpointFailure::Broken,
        ForwardError::Deadline { .. } | ForwardError::Local(_) | ForwardError::OwnDelay { .. } => {
            return AttemptError::Final(gateway_error);
        }
    };
    AttemptError::Retriable(FailedAttempt {
        outcome: LeaseOutcome::Failed(failure),
        error: gateway_error,
        executed: false,
        replica,
        is_permanent: false,
    })
}

/// A node refused the request itself.
fn classify_refusal(refusal: NodeRefusal, context: LogContext<'_>) -> AttemptError {
    let NodeRefusal {
        code,
        pause,
        executed,
        replica,
    } = refusal;
    let refused = |code, message| {
        let (code, message) = if executed {
            (
                ErrorCode::WorkerReset,
                "an engine closed the connection before it responded, and no other one was free",
            )
        } else {
            (code, message)
        };
        FailedAttempt {
            executed,
            ..FailedAttempt::new(LeaseOutcome::PoolRefused { pause }, code, message)
        }
    };
    let broken = |code, message| FailedAttempt {
        replica,
        ..FailedAttempt::new(LeaseOutcome::Failed(EndpointFailure::Broken), code, message)
    };
    AttemptError::Retriable(match code {
        Some(ErrorCode::PoolBusy) => {
            refused(ErrorCode::QueueFull, "every slot for this model is taken")
        }
        // The node's handoffs have changed; its next heartbeat reports that.
        Some(
            ErrorCode::PoolDraining
            | ErrorCode::ShuttingDown
            | ErrorCode::ModelNotAvailable
            | ErrorCode::NotFound,
        ) => refused(
            ErrorCode::PoolUnavailable,
            "the node that serves this model takes no new requests",
        ),
        // Every node would refuse this request.
        Some(
            code @ (ErrorCode::InvalidRequest
            | ErrorCode::PayloadTooLarge
            | ErrorCode::RequestTimeout),
        ) => {
            return AttemptError::Final(GatewayError::new(
                code,
                "the node does not accept this request",
            ));
        }
        Some(ErrorCode::LoopDetected) => {
            log_request!(
                warn,
                context,
                "a node cannot be reached: its address leads to a gateway; correct the \
                 address in its settings"
            );
            FailedAttempt {
                is_permanent: true,
                ..FailedAttempt::new(
                    LeaseOutcome::Failed(EndpointFailure::NodeUnreachable),
                    ErrorCode::LoopDetected,
                    "the address of the node that serves this model leads back to a gateway",
                )
            }
        }
        Some(ErrorCode::DeadlineExceeded) => broken(
            ErrorCode::DeadlineExceeded,
            "the engine did not start to respond within the time limit",
        ),
        Some(ErrorCode::WorkerReset) => broken(
            ErrorCode::WorkerReset,
            "the engine closed the connection before it responded",
        ),
        _ => broken(
            ErrorCode::PoolUnavailable,
            "the node cannot serve this model at the moment",
        ),
    })
}

/// A response that broke off after its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BrokenResponse {
    pub(crate) code: ErrorCode,
    pub(crate) message: &'static str,
    /// What that says about the endpoint; `None` when it says nothing.
    pub(crate) outcome: Option<LeaseOutcome>,
}

impl BrokenResponse {
    /// `error` is `None` for a stream that ended early, but without a transport error.
    pub(crate) fn new(error: Option<&StreamError>) -> Self {
        let failed = Some(LeaseOutcome::Failed(EndpointFailure::Broken));
        let (code, message, outcome) = match error {
            // The client's own limit says nothing about the engine.
            Some(StreamError::Deadline) => (
                ErrorCode::DeadlineExceeded,
                "the request's deadline passed in the middle of the response",
                None,
            ),
            Some(error) if error.is_own() => (
                ErrorCode::WorkerReset,
                "this gateway was overloaded in the middle of the response",
                None,
            ),
            Some(StreamError::Stalled(_)) => (
                ErrorCode::WorkerReset,
                "the engine stalled in the middle of its response",
                failed,
            ),
            Some(StreamError::Broken(_) | StreamError::OwnDelay(_)) | None => (
                ErrorCode::WorkerReset,
                "the engine closed the connection in the middle of its response",
                failed,
            ),
        };
        Self {
            code,
            message,
            outcome,
        }
    }
}

/// A response that broke off before the client got any of it.
impl From<BrokenResponse> for AttemptError {
    fn from(broken: BrokenResponse) -> Self {
        let BrokenResponse {
            code,
            message,
            outcome,
        } = broken;
        match outcome {
            Some(outcome) => Self::Retriable(FailedAttempt::new(outcome, code, message)),
            None => Self::Final(GatewayError::new(code, message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use stream_proxy::ResponseError;

    use super::*;

    // spec: PATH-37
    #[test]
    fn a_busy_node_requests_a_pause() {
        let pause = Some(Duration::from_millis(1200));
        let busy = NodeRefusal {
            code: Some(ErrorCode::PoolBusy),
            pause,
            executed: false,
            replica: None,
        };
        let result = classify(Err(TransportError::Refused(busy)), LogContext::default());
        let Err(AttemptError::Retriable(failed)) = result else {
            panic!("a refusal can be retried");
        };
        assert_eq!(failed.error.code, ErrorCode::QueueFull);
        assert_eq!(failed.outcome, LeaseOutcome::PoolRefused { pause });
    }

    // spec: PATH-41, PATH-42
    #[test]
    fn only_failures_of_the_upstream_count_against_it() {
        let io = |code| StreamError::Broken(ResponseError::Io(io::Error::from_raw_os_error(code)));
        let (no_buffers, reset) = (io(105), io(104));
        let second = Duration::from_secs(1);
        for (error, code, blames) in [
            (
                Some(StreamError::Deadline),
                ErrorCode::DeadlineExceeded,
                false,
            ),
            (
                Some(StreamError::OwnDelay(second)),
                ErrorCode::WorkerReset,
                false,
            ),
            (Some(no_buffers), ErrorCode::WorkerReset, false),
            (Some(reset), ErrorCode::WorkerReset, true),
            (
                Some(StreamError::Stalled(second)),
                ErrorCode::WorkerReset,
                true,
            ),
            (
                Some(StreamError::Broken(ResponseError::Closed)),
                ErrorCode::WorkerReset,
                true,
            ),
            (None, ErrorCode::WorkerReset, true),
        ] {
            let broken = BrokenResponse::new(error.as_ref());
            let expected = blames.then_some(LeaseOutcome::Failed(EndpointFailure::Broken));
            assert_eq!((broken.code, broken.outcome), (code, expected), "{error:?}");
        }
    }
}
