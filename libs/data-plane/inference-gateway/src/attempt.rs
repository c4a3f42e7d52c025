//! What one attempt brought: a response for the client, or a failure and what follows from it.

use std::time::SystemTime;

use http::{HeaderMap, StatusCode};
use node_transport::{NodeRefusal, NodeResponse, TransportError, requested_pause};
use pool_registry_types::{ErrorCode, ReplicaId};
use stream_proxy::{ForwardError, ResponseError, StreamError};

use crate::{
    attribution::{Attribution, Evidence, Retry, Signal, attribute},
    error::GatewayError,
    log_context::{LogContext, log_request},
    retry::{AttemptFailure, FailureKind},
};

/// An attempt that brought no response for the client.
#[derive(Debug)]
pub(crate) struct FailedAttempt {
    pub(crate) signal: Signal,
    pub(crate) error: GatewayError,
    /// A node refused the request after one of its engines may have started it.
    executed: bool,
    /// The replica at fault, where it may differ from the chosen one.
    pub(crate) replica: Option<ReplicaId>,
}

impl FailedAttempt {
    fn new(signal: Signal, error: GatewayError) -> Self {
        Self {
            signal,
            error,
            executed: false,
            replica: None,
        }
    }

    pub(crate) fn with(signal: Signal, code: ErrorCode, message: &'static str) -> Self {
        Self::new(signal, GatewayError::new(code, message))
    }

    /// What the retry decision needs to know; `None` when there is no further attempt in any case.
    /// `resent` tells whether an attempt sent the request a second time on a fresh connection.
    pub(crate) fn failure(&self, resent: bool) -> Option<AttemptFailure> {
        let Attribution {
            retry,
            executed,
            evidence,
            ..
        } = attribute(self.signal);
        let kind = match (retry, evidence) {
            (Retry::Never, _) => return None,
            (_, Evidence::Opens | Evidence::OpensNode) => FailureKind::Unreachable,
            (_, Evidence::Busy) => FailureKind::Refused,
            _ => FailureKind::Broken,
        };
        Some(AttemptFailure {
            kind,
            executed: executed || self.executed,
            resent,
        })
    }

    /// The endpoint would fail the request again in the same way.
    pub(crate) fn excludes_endpoint(&self) -> bool {
        attribute(self.signal).retry == Retry::Other
    }
}

/// What was known of an attempt when it was sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SentAttempt {
    /// The request asked for a stream.
    pub(crate) is_stream: bool,
    /// The endpoint had to start its engine first.
    pub(crate) starts_engine: bool,
}

/// Classifies a request that got no response. `context` names it in the log.
pub(crate) fn classify_error(
    error: TransportError,
    sent: SentAttempt,
    context: LogContext<'_>,
) -> FailedAttempt {
    match error {
        TransportError::Failed { error, replica } => FailedAttempt {
            replica,
            ..FailedAttempt::new(
                signal_of(&error, sent.is_stream),
                GatewayError::attempt_failed(&error, context),
            )
        },
        TransportError::Unreachable(error) => FailedAttempt::new(
            Signal::NodeUnreachable,
            GatewayError::attempt_failed(&error, context),
        ),
        TransportError::Refused(refusal) => classify_refusal(refusal, sent, context),
        TransportError::NotANode(status) => {
            log_request!(
                warn,
                context,
                status,
                "a response did not come from a node's data path: check that the node's address \
                 leads to its agent and that both have the same API token"
            );
            FailedAttempt::with(
                Signal::NotANode,
                ErrorCode::NodeUnavailable,
                "the node that serves this model cannot be reached",
            )
        }
    }
}

fn signal_of(error: &ForwardError, is_stream: bool) -> Signal {
    match error {
        ForwardError::Connect { .. } | ForwardError::ConnectTimeout { .. } => {
            Signal::EngineUnreachable
        }
        ForwardError::AcceptQueueFull { .. } => Signal::AcceptQueueFull,
        ForwardError::Reset {
            source: ResponseError::Protocol(_),
            ..
        } => Signal::MalformedAnswer,
        ForwardError::Reset { .. } => Signal::ConnectionClosed,
        ForwardError::FirstByte { .. } => late(is_stream),
        ForwardError::Deadline { .. } => Signal::Deadline,
        ForwardError::Local(_) => Signal::LocalLimit,
        ForwardError::OwnDelay { .. } => Signal::OwnDelay,
    }
}

/// The engine has not answered in time. It may be at work: an unstreamed answer has no first byte
/// before its last.
fn late(is_stream: bool) -> Signal {
    if is_stream {
        Signal::SilentStream
    } else {
        Signal::UnstreamedTooLong
    }
}

/// Decides by its head whether a response is for the client. `has_json_error` tells whether a 502,
/// 503 or 504 has an engine's body.
#[expect(
    clippy::result_large_err,
    reason = "a failed attempt is returned once a try, and a box would be an allocation"
)]
pub(crate) fn classify_response(
    response: &NodeResponse,
    has_json_error: bool,
) -> Result<(), FailedAttempt> {
    let busy = |headers: &HeaderMap| {
        let pause = requested_pause(headers, SystemTime::now());
        FailedAttempt::with(
            Signal::Busy { pause },
            ErrorCode::QueueFull,
            "the engine is busy",
        )
    };
    let failed = match response.response.status() {
        StatusCode::TOO_MANY_REQUESTS => busy(response.response.headers()),
        // The engine loads a model, or its own queue is full.
        StatusCode::SERVICE_UNAVAILABLE if has_json_error => busy(response.response.headers()),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE if !has_json_error => {
            FailedAttempt::with(
                Signal::ProxyError,
                ErrorCode::PoolUnavailable,
                "the engine cannot serve at the moment",
            )
        }
        StatusCode::GATEWAY_TIMEOUT if !has_json_error => FailedAttempt::with(
            Signal::ProxyTimeout,
            ErrorCode::DeadlineExceeded,
            "a proxy in front of the engine stopped waiting for its response",
        ),
        // Any other error is the engine's word about this request.
        _ => return Ok(()),
    };
    Err(FailedAttempt {
        replica: response.report.replica.clone(),
        ..failed
    })
}

/// A node refused the request itself.
fn classify_refusal(
    refusal: NodeRefusal,
    sent: SentAttempt,
    context: LogContext<'_>,
) -> FailedAttempt {
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
            ..FailedAttempt::with(Signal::PoolBusy { pause }, code, message)
        }
    };
    let has_replica = replica.is_some();
    let failed = |signal, code, message| FailedAttempt {
        executed,
        replica,
        ..FailedAttempt::with(signal, code, message)
    };
    match code {
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
        ) => FailedAttempt::with(
            Signal::RequestRejected,
            code,
            "the node does not accept this request",
        ),
        Some(ErrorCode::LoopDetected) => {
            log_request!(
                warn,
                context,
                "a node cannot be reached: its address leads to a gateway; correct the \
                 address in its settings"
            );
            FailedAttempt::with(
                Signal::NotANode,
                ErrorCode::LoopDetected,
                "the address of the node that serves this model leads back to a gateway",
            )
        }
        // A node names the engine that was too late. Without one, no engine has the request.
        Some(ErrorCode::DeadlineExceeded) if has_replica => failed(
            late(sent.is_stream),
            ErrorCode::DeadlineExceeded,
            "the engine did not start to respond within the time limit",
        ),
        Some(ErrorCode::DeadlineExceeded) => failed(
            Signal::StillAsleep,
            ErrorCode::PoolUnavailable,
            "the engine that was started for this request did not become ready in time",
        ),
        Some(ErrorCode::WorkerReset) => failed(
            Signal::ConnectionClosed,
            ErrorCode::WorkerReset,
            "the engine closed the connection before it responded",
        ),
        // No engine has the request: the node could not connect to one, or knows that none is
        // ready. After a failed start, the request would only make the node try again.
        Some(ErrorCode::PoolUnavailable) if !sent.starts_engine => failed(
            Signal::EngineUnreachable,
            ErrorCode::PoolUnavailable,
            "the node cannot serve this model at the moment",
        ),
        _ => failed(
            Signal::EngineUnavailable,
            ErrorCode::PoolUnavailable,
            "the node cannot serve this model at the moment",
        ),
    }
}

/// A response that broke off after its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BrokenResponse {
    pub(crate) code: ErrorCode,
    pub(crate) message: &'static str,
    pub(crate) signal: Signal,
}

impl BrokenResponse {
    /// `error` is `None` for a stream that ended properly as HTTP, but without its API's end.
    pub(crate) fn new(error: Option<&StreamError>) -> Self {
        let (code, message, signal) = match error {
            // The client's own limit says nothing about the engine.
            Some(StreamError::Deadline) => (
                ErrorCode::DeadlineExceeded,
                "the request's deadline passed in the middle of the response",
                Signal::Deadline,
            ),
            Some(error) if error.is_own() => (
                ErrorCode::WorkerReset,
                "this gateway was overloaded in the middle of the response",
                Signal::OwnDelay,
            ),
            Some(StreamError::Stalled(_)) => (
                ErrorCode::WorkerReset,
                "the engine stalled in the middle of its response",
                Signal::StreamStalled,
            ),
            Some(StreamError::Broken(_) | StreamError::OwnDelay(_)) => (
                ErrorCode::WorkerReset,
                "the engine closed the connection in the middle of its response",
                Signal::StreamCut,
            ),
            None => (
                ErrorCode::WorkerReset,
                "the engine ended its response before it was complete",
                Signal::StreamUnfinished,
            ),
        };
        Self {
            code,
            message,
            signal,
        }
    }
}

/// A response that broke off before the client got any of it.
impl From<BrokenResponse> for FailedAttempt {
    fn from(broken: BrokenResponse) -> Self {
        let signal = match broken.signal {
            Signal::StreamCut => Signal::AnswerCut,
            signal => signal,
        };
        Self::with(signal, broken.code, broken.message)
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
        let error = TransportError::Refused(busy);
        let failed = classify_error(error, SentAttempt::default(), LogContext::default());
        assert_eq!(failed.error.code, ErrorCode::QueueFull);
        assert_eq!(failed.signal, Signal::PoolBusy { pause });
        assert!(failed.failure(false).is_some());
    }

    // spec: PATH-3
    #[test]
    fn a_request_that_no_engine_has_waits_for_the_restart_of_the_only_one() {
        for replica in [None, Some(ReplicaId::new("r0").unwrap())] {
            let refusal = NodeRefusal {
                code: Some(ErrorCode::PoolUnavailable),
                pause: None,
                executed: false,
                replica,
            };
            let error = TransportError::Refused(refusal);
            let failed = classify_error(error, SentAttempt::default(), LogContext::default());
            assert_eq!(
                failed.failure(false).unwrap().kind,
                FailureKind::Unreachable
            );
            assert!(!failed.excludes_endpoint());
        }
    }

    // spec: PROV-21
    #[test]
    fn an_engine_that_cannot_be_started_is_not_started_again_by_the_same_request() {
        let refusal = NodeRefusal {
            code: Some(ErrorCode::PoolUnavailable),
            pause: None,
            executed: false,
            replica: None,
        };
        let sent = SentAttempt {
            starts_engine: true,
            ..SentAttempt::default()
        };
        let error = TransportError::Refused(refusal);
        let failed = classify_error(error, sent, LogContext::default());
        assert_eq!(failed.signal, Signal::EngineUnavailable);
        assert!(failed.excludes_endpoint());
    }

    // spec: PROV-43
    #[test]
    fn an_engine_that_did_not_start_in_time_is_unavailable() {
        let late = |replica| {
            let refusal = NodeRefusal {
                code: Some(ErrorCode::DeadlineExceeded),
                pause: None,
                executed: false,
                replica,
            };
            let error = TransportError::Refused(refusal);
            let failed = classify_error(error, SentAttempt::default(), LogContext::default());
            failed.error.code
        };
        assert_eq!(late(None), ErrorCode::PoolUnavailable);
        let replica = ReplicaId::new("r0").unwrap();
        assert_eq!(late(Some(replica)), ErrorCode::DeadlineExceeded);
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
            let blamed = broken.signal.lease_outcome().is_some();
            assert_eq!((broken.code, blamed), (code, blames), "{error:?}");
        }
    }
}
