//! One try at one endpoint, and what may follow from it.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::time::SystemTime;

use admission::{EndpointFailure, LeaseOutcome};
use http::StatusCode;
use node_transport::{NoAnswer, NodeAnswer, NodeRefusal, asked_pause};
use pool_registry_types::{ErrorCode, ReplicaId};
use stream_proxy::ForwardError;

use crate::{
    about::{About, tell},
    reply::{self, Fault},
};

/// What a try came to.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// An answer for the client; `outcome` is what it says about the endpoint, where that is known
    /// already.
    Answer {
        answer: Box<NodeAnswer>,
        outcome: Option<LeaseOutcome>,
    },
    /// Nothing for the client yet.
    Failed {
        outcome: LeaseOutcome,
        fault: Fault,
        /// A node refused the request after one of its engines may have begun with it.
        executed: bool,
        /// The replica that it was with, where that may be another one than was chosen.
        replica: Option<ReplicaId>,
        /// Sent there again, it would end the same.
        is_final: bool,
    },
    /// The request's own limits, or this process, are at fault; the endpoint is not.
    GivenUp { fault: Fault },
}

/// Reads what came of sending the request that this is about to a node.
pub(crate) fn judge(result: Result<NodeAnswer, NoAnswer>, about: About<'_>) -> Attempt {
    let answer = match result {
        Ok(answer) => answer,
        Err(NoAnswer::Failed { error, replica }) => return judge_error(&error, replica, about),
        Err(NoAnswer::Unreachable(error)) => {
            return Attempt::Failed {
                outcome: LeaseOutcome::Failed(EndpointFailure::NodeUnreachable),
                fault: reply::failed(&error, about),
                executed: false,
                replica: None,
                is_final: false,
            };
        }
        Err(NoAnswer::Refused(refusal)) => return judge_refusal(refusal, about),
        Err(NoAnswer::NotANode(status)) => return judge_stranger(status, about),
    };
    match answer.response.status() {
        // The engine's own queue is full: busy is not failure.
        StatusCode::TOO_MANY_REQUESTS => Attempt::Failed {
            outcome: LeaseOutcome::Refused {
                pause: asked_pause(answer.response.headers(), SystemTime::now()),
            },
            fault: Fault::new(ErrorCode::QueueFull, "the engine is busy"),
            executed: false,
            replica: answer.report.replica,
            is_final: false,
        },
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Attempt::Failed {
            outcome: LeaseOutcome::Failed(EndpointFailure::Broken),
            fault: Fault::new(
                ErrorCode::PoolUnavailable,
                "the engine cannot serve just now",
            ),
            executed: false,
            replica: answer.report.replica,
            is_final: false,
        },
        // Maybe the request's own fault: passed on, and remembered.
        status if status.is_server_error() => Attempt::Answer {
            answer: Box::new(answer),
            outcome: Some(LeaseOutcome::Failed(EndpointFailure::Broken)),
        },
        _ => Attempt::Answer {
            answer: Box::new(answer),
            outcome: None,
        },
    }
}

/// Something answered that is no node.
fn judge_stranger(status: u16, about: About<'_>) -> Attempt {
    tell!(
        warn,
        about,
        status,
        "an answer did not come from a node's data path: check that the node's address leads to \
         its pool-managerd and that both have the same LLORCH_API_TOKEN"
    );
    Attempt::Failed {
        outcome: LeaseOutcome::Failed(EndpointFailure::NodeUnreachable),
        fault: Fault::new(
            ErrorCode::NodeUnavailable,
            "the node that serves this model cannot be reached",
        ),
        executed: false,
        replica: None,
        is_final: true,
    }
}

fn judge_error(error: &ForwardError, replica: Option<ReplicaId>, about: About<'_>) -> Attempt {
    let fault = reply::failed(error, about);
    let outcome = match error {
        ForwardError::Connect { .. } | ForwardError::ConnectTimeout { .. } => {
            LeaseOutcome::Failed(EndpointFailure::Unreachable)
        }
        ForwardError::Reset { .. } | ForwardError::FirstByte { .. } => {
            LeaseOutcome::Failed(EndpointFailure::Broken)
        }
        ForwardError::Deadline { .. } | ForwardError::Local(_) | ForwardError::OwnDelay { .. } => {
            return Attempt::GivenUp { fault };
        }
    };
    Attempt::Failed {
        outcome,
        fault,
        executed: false,
        replica,
        is_final: false,
    }
}

/// A node said itself that it does not serve this one.
fn judge_refusal(refusal: NodeRefusal, about: About<'_>) -> Attempt {
    let NodeRefusal {
        code,
        pause,
        executed,
        replica,
    } = refusal;
    let elsewhere = |code, message| Attempt::Failed {
        outcome: LeaseOutcome::PoolRefused { pause },
        fault: if executed {
            Fault::new(
                ErrorCode::WorkerReset,
                "an engine broke off before it answered, and no other one was free",
            )
        } else {
            Fault::new(code, message)
        },
        executed,
        replica: None,
        is_final: false,
    };
    let broken = |code, message| Attempt::Failed {
        outcome: LeaseOutcome::Failed(EndpointFailure::Broken),
        fault: Fault::new(code, message),
        executed: false,
        replica: replica.clone(),
        is_final: false,
    };
    match code {
        Some(ErrorCode::PoolBusy) => {
            elsewhere(ErrorCode::QueueFull, "every slot for this model is taken")
        }
        // Its handoffs have changed and its next heartbeat will say so.
        Some(
            ErrorCode::PoolDraining
            | ErrorCode::ShuttingDown
            | ErrorCode::ModelNotAvailable
            | ErrorCode::NotFound,
        ) => elsewhere(
            ErrorCode::PoolUnavailable,
            "the node that serves this model takes no new requests",
        ),
        // The request's own fault, on every node.
        Some(
            code @ (ErrorCode::InvalidRequest
            | ErrorCode::PayloadTooLarge
            | ErrorCode::RequestTimeout),
        ) => Attempt::GivenUp {
            fault: Fault::new(code, "the node does not take this request"),
        },
        Some(ErrorCode::LoopDetected) => {
            tell!(
                warn,
                about,
                "a node cannot be reached: its address leads to a gateway; correct \
                 POOL_MANAGERD_ADDRESS there"
            );
            Attempt::Failed {
                outcome: LeaseOutcome::Failed(EndpointFailure::NodeUnreachable),
                fault: Fault::new(
                    ErrorCode::LoopDetected,
                    "the address of the node that serves this model leads back to a gateway",
                ),
                executed: false,
                replica: None,
                is_final: true,
            }
        }
        Some(ErrorCode::DeadlineExceeded) => broken(
            ErrorCode::DeadlineExceeded,
            "the engine did not begin to answer within the time limit",
        ),
        Some(ErrorCode::WorkerReset) => broken(
            ErrorCode::WorkerReset,
            "the engine broke off before it answered",
        ),
        _ => broken(
            ErrorCode::PoolUnavailable,
            "the node cannot serve this model just now",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    // spec: ADM-36, PATH-37
    #[test]
    fn a_busy_node_says_for_how_long() {
        let pause = Some(Duration::from_millis(1200));
        let busy = NodeRefusal {
            code: Some(ErrorCode::PoolBusy),
            pause,
            executed: false,
            replica: None,
        };
        let judged = judge(Err(NoAnswer::Refused(busy)), About::default());
        let Attempt::Failed { outcome, fault, .. } = judged else {
            panic!("a refusal is no answer");
        };
        assert_eq!(fault.code, ErrorCode::QueueFull);
        assert_eq!(outcome, LeaseOutcome::PoolRefused { pause });
    }
}
