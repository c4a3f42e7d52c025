//! One try at one endpoint, and what may follow from it.

use std::time::Duration;

use admission::{Failure, Outcome};
use http::{HeaderMap, HeaderName, Response, StatusCode};
use pool_registry_types::{ErrorCode, headers};
use routing_table::Hop;
use stream_proxy::{ForwardError, ProxyBody};

use crate::{
    about::{About, tell},
    reply::{self, Fault},
};

/// What a try came to.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// An answer for the client; `outcome` is what it says about the endpoint, where that is known already.
    Answer {
        response: Box<Response<ProxyBody>>,
        outcome: Option<Outcome>,
    },
    /// Nothing for the client yet.
    Failed { outcome: Outcome, fault: Fault },
    /// The request's own limits are at fault; the endpoint is not.
    GivenUp(Fault),
}

/// How long a connection to a node is kept for another request. A node's doors keep idle ones for 75 s, so that the next
/// burst need not connect anew; engines, which most often stand for 5 s, get [`Clocks::idle`].
pub(crate) const NODE_IDLE: Duration = Duration::from_secs(60);

/// Reads the result of forwarding the request that this is about to an endpoint behind `hop`.
pub(crate) fn judge(
    result: Result<Response<ProxyBody>, ForwardError>,
    hop: Hop,
    about: About<'_>,
) -> Attempt {
    let response = match result {
        Ok(response) => response,
        Err(error) => return judge_error(&error, about),
    };
    if hop == Hop::Node && response.headers().contains_key(headers::REFUSAL) {
        return judge_refusal(response.headers(), about);
    }
    if hop == Hop::Node && told_load(response.headers()).is_none() {
        tell!(
            warn,
            about,
            status = response.status().as_u16(),
            "an answer did not come from a node's data path: check that the node's address leads to its pool-managerd \
             and that both have the same LLORCH_API_TOKEN"
        );
        return Attempt::Failed {
            outcome: Outcome::Failed(Failure::Broken),
            fault: Fault::new(
                ErrorCode::NodeUnavailable,
                "the node that serves this model cannot be reached",
            ),
        };
    }
    match response.status() {
        // The engine's own queue is full: busy is not failure.
        StatusCode::TOO_MANY_REQUESTS => Attempt::Failed {
            outcome: Outcome::Refused,
            fault: Fault::new(ErrorCode::QueueFull, "the engine is busy"),
        },
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Attempt::Failed {
            outcome: Outcome::Failed(Failure::Broken),
            fault: Fault::new(ErrorCode::PoolUnavailable, "the engine cannot serve just now"),
        },
        // Maybe the request's own fault: passed on, and remembered.
        status if status.is_server_error() => Attempt::Answer {
            response: Box::new(response),
            outcome: Some(Outcome::Failed(Failure::Broken)),
        },
        _ => Attempt::Answer {
            response: Box::new(response),
            outcome: None,
        },
    }
}

fn judge_error(error: &ForwardError, about: About<'_>) -> Attempt {
    let fault = reply::failed(error, about);
    let outcome = match error {
        ForwardError::Connect { .. } | ForwardError::ConnectTimeout { .. } => {
            Outcome::Failed(Failure::Unreachable)
        }
        ForwardError::Reset { .. } | ForwardError::FirstByte { .. } => Outcome::Failed(Failure::Broken),
        ForwardError::Deadline { .. } | ForwardError::Local(_) => {
            return Attempt::GivenUp(fault);
        }
    };
    Attempt::Failed { outcome, fault }
}

/// A node said itself that it does not serve this one.
fn judge_refusal(headers: &HeaderMap, about: About<'_>) -> Attempt {
    let refusal = headers
        .get(headers::REFUSAL)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let code = ErrorCode::ALL
        .iter()
        .copied()
        .find(|code| code.as_str() == refusal);
    let elsewhere = |code, message| Attempt::Failed {
        outcome: Outcome::Refused,
        fault: Fault::new(code, message),
    };
    let broken = |code, message| Attempt::Failed {
        outcome: Outcome::Failed(Failure::Broken),
        fault: Fault::new(code, message),
    };
    match code {
        Some(ErrorCode::PoolBusy) => elsewhere(ErrorCode::QueueFull, "every slot for this model is taken"),
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
        Some(code @ (ErrorCode::InvalidRequest | ErrorCode::PayloadTooLarge | ErrorCode::RequestTimeout)) => {
            Attempt::GivenUp(Fault::new(code, "the node does not take this request"))
        }
        Some(ErrorCode::LoopDetected) => {
            tell!(
                warn,
                about,
                "a node cannot be reached: its address leads to a gateway; correct POOL_MANAGERD_ADDRESS there"
            );
            Attempt::Failed {
                outcome: Outcome::Failed(Failure::Unreachable),
                fault: Fault::new(
                    ErrorCode::LoopDetected,
                    "the address of the node that serves this model leads back to a gateway",
                ),
            }
        }
        Some(ErrorCode::DeadlineExceeded) => broken(
            ErrorCode::DeadlineExceeded,
            "the engine did not begin to answer within the time limit",
        ),
        Some(ErrorCode::WorkerReset) => {
            broken(ErrorCode::WorkerReset, "the engine broke off before it answered")
        }
        _ => broken(
            ErrorCode::PoolUnavailable,
            "the node cannot serve this model just now",
        ),
    }
}

/// The free and total slots a node tells with its answer.
pub(crate) fn told_load(headers: &HeaderMap) -> Option<(u32, u32)> {
    let number = |name: HeaderName| headers.get(name)?.to_str().ok()?.parse().ok();
    Some((number(headers::SLOTS_FREE)?, number(headers::SLOTS_TOTAL)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PATH-19
    #[test]
    fn a_node_keeps_an_idle_connection_for_longer_than_we_do() {
        assert!(NODE_IDLE < http_server::Limits::default().idle);
    }
}
