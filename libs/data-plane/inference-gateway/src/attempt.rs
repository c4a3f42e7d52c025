//! One try at one endpoint, and what may follow from it.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::time::{Duration, SystemTime};

use admission::{Failure, Outcome};
use http::{
    HeaderMap, HeaderName, Response, StatusCode,
    header::{DATE, RETRY_AFTER},
};
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
    Failed {
        outcome: Outcome,
        fault: Fault,
        /// A node refused the request after one of its engines may have begun with it.
        executed: bool,
    },
    /// The request's own limits, or this process, are at fault; the endpoint is not.
    GivenUp {
        fault: Fault,
        /// Whether the endpoint may have begun with the request.
        sent: bool,
    },
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
            executed: false,
        };
    }
    match response.status() {
        // The engine's own queue is full: busy is not failure.
        StatusCode::TOO_MANY_REQUESTS => Attempt::Failed {
            outcome: Outcome::Refused {
                pause: asked_pause(response.headers(), SystemTime::now()),
            },
            fault: Fault::new(ErrorCode::QueueFull, "the engine is busy"),
            executed: false,
        },
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => Attempt::Failed {
            outcome: Outcome::Failed(Failure::Broken),
            fault: Fault::new(ErrorCode::PoolUnavailable, "the engine cannot serve just now"),
            executed: false,
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
        ForwardError::Deadline { .. } | ForwardError::Local(_) | ForwardError::OwnDelay { .. } => {
            let sent = !matches!(error, ForwardError::Local(_));
            return Attempt::GivenUp { fault, sent };
        }
    };
    Attempt::Failed {
        outcome,
        fault,
        executed: false,
    }
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
    let pause = asked_pause(headers, SystemTime::now());
    let executed = headers.contains_key(headers::EXECUTIONS);
    let elsewhere = |code, message| Attempt::Failed {
        outcome: Outcome::Refused { pause },
        fault: if executed {
            Fault::new(
                ErrorCode::WorkerReset,
                "an engine broke off before it answered, and no other one was free",
            )
        } else {
            Fault::new(code, message)
        },
        executed,
    };
    let broken = |code, message| Attempt::Failed {
        outcome: Outcome::Failed(Failure::Broken),
        fault: Fault::new(code, message),
        executed: false,
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
            Attempt::GivenUp {
                fault: Fault::new(code, "the node does not take this request"),
                sent: false,
            }
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
                executed: false,
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

/// For how long an endpoint asks to be left alone: in milliseconds in the header of nodes, else in whole seconds or as a
/// date (RFC 9110, 10.2.3). A date counts from the answer's own, where it has one: clocks differ.
fn asked_pause(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.trim());
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // One that is too large for any time is a long time.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    if let Some(millis) = text(headers::BACKOFF_MS).and_then(number) {
        return Some(Duration::from_millis(millis));
    }
    let after = text(RETRY_AFTER)?;
    if let Some(seconds) = number(after) {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(after).ok()?;
    let sent = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    // One that has passed already asks for nothing.
    Some(date.duration_since(sent.unwrap_or(now)).unwrap_or_default())
}

/// The free and total slots a node tells with its answer.
pub(crate) fn told_load(headers: &HeaderMap) -> Option<(u32, u32)> {
    let number = |name: HeaderName| headers.get(name)?.to_str().ok()?.parse().ok();
    Some((number(headers::SLOTS_FREE)?, number(headers::SLOTS_TOTAL)?))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    // spec: PATH-37
    #[test]
    fn a_pause_is_asked_for_in_seconds_in_milliseconds_or_by_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let date = "Sun, 06 Nov 1994 08:50:07 GMT";
        let secs = |secs| Some(Duration::from_secs(secs));
        for (pairs, expected) in [
            (vec![(RETRY_AFTER, "7")], secs(7)),
            (vec![(RETRY_AFTER, " 0 ")], secs(0)),
            (vec![(RETRY_AFTER, "99999999999999999999999")], secs(u64::MAX)),
            (vec![(RETRY_AFTER, date)], secs(30)),
            (
                vec![(RETRY_AFTER, date), (DATE, "Sun, 06 Nov 1994 08:50:05 GMT")],
                secs(2),
            ),
            (vec![(RETRY_AFTER, "Sun, 06 Nov 1994 08:49:07 GMT")], secs(0)),
            (
                vec![(RETRY_AFTER, "2"), (headers::BACKOFF_MS, "1200")],
                Some(Duration::from_millis(1200)),
            ),
            (vec![(RETRY_AFTER, "-1")], None),
            (vec![(RETRY_AFTER, "1.5")], None),
            (vec![(RETRY_AFTER, "soon")], None),
            (vec![(RETRY_AFTER, "")], None),
            (vec![], None),
        ] {
            let headers = pairs
                .iter()
                .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(asked_pause(&headers, now), expected, "{pairs:?}");
        }
    }

    // spec: PATH-37
    #[test]
    fn a_busy_node_says_for_how_long() {
        let told = [(headers::REFUSAL, "POOL_BUSY"), (headers::BACKOFF_MS, "1200")];
        let headers = told.map(|(name, value)| (name, HeaderValue::from_static(value)));
        let Attempt::Failed { outcome, fault, .. } =
            judge_refusal(&headers.into_iter().collect(), About::default())
        else {
            panic!("a refusal is no answer");
        };
        assert_eq!(fault.code, ErrorCode::QueueFull);
        let pause = Some(Duration::from_millis(1200));
        assert_eq!(outcome, Outcome::Refused { pause });
    }

    // spec: PATH-19
    #[test]
    fn a_node_keeps_an_idle_connection_for_longer_than_we_do() {
        assert!(NODE_IDLE < http_server::Limits::default().idle);
    }
}
