//! Response headers that tell the client how its request was served.

use std::time::Duration;

use admission::Lease;
use http::{HeaderMap, HeaderValue};
use key_limits::{Quota, RateWindow};
use node_transport::NodeReport;
use pool_registry_types::headers;
use request_forwarding::number;
use routing_table::Endpoint;

use crate::retry::RetryState;

/// Sets the endpoint that served the request. The server sets the request's id, once.
pub(crate) fn insert_endpoint(headers: &mut HeaderMap, lease: &Lease, report: &NodeReport) {
    headers.remove(headers::REQUEST_ID);
    let endpoint = lease.endpoint();
    let labels = endpoint.labels();
    headers.insert(headers::NODE, labels.node.clone());
    headers.insert(headers::POOL, labels.pool.clone());
    if let Some(replica) = replica_label(endpoint, report) {
        headers.insert(headers::REPLICA, replica);
    }
}

/// Sets how many endpoints got the request, and how long it waited for a slot.
pub(crate) fn insert_attempts(headers: &mut HeaderMap, retry: &RetryState) {
    let queue_ms = pool_registry_types::millis(retry.queue_time());
    headers.insert(headers::ATTEMPTS, number(retry.attempts().into()));
    headers.insert(headers::QUEUE_MS, number(queue_ms));
}

/// Sets what the key has left, as OpenAI does. What an engine says of its own limits is replaced.
pub(crate) fn insert_quota(headers: &mut HeaderMap, quota: &Quota) {
    let [requests, tokens] = &headers::RATE_LIMITS;
    for (names, window) in [(requests, &quota.requests), (tokens, &quota.tokens)] {
        let Some(window) = window else { continue };
        let RateWindow {
            limit,
            remaining,
            reset,
        } = *window;
        headers.insert(names.limit.clone(), number(limit));
        headers.insert(names.remaining.clone(), number(remaining));
        if let Ok(reset) = HeaderValue::try_from(as_go_writes(reset)) {
            headers.insert(names.reset.clone(), reset);
        }
    }
}

/// A duration as Go writes it, and so OpenAI: `120ms`, `59.5s`, `6m0s`, `23h59m59s`. It is rounded
/// up to milliseconds.
fn as_go_writes(duration: Duration) -> String {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let fraction = format!(".{millis:03}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, _) => format!("{minutes}m{seconds}{fraction}s"),
        _ => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

/// The replica that the node reports, else the chosen one. The usual case, the chosen one, does
/// not allocate.
fn replica_label(endpoint: &Endpoint, report: &NodeReport) -> Option<HeaderValue> {
    let chosen = &endpoint.key().replica;
    match &report.replica {
        Some(used) if chosen.as_ref() != Some(used) => HeaderValue::from_str(used.as_str()).ok(),
        _ => endpoint.labels().replica.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: KEY-5
    #[test]
    fn a_reset_is_written_as_openai_writes_it() {
        for (millis, expected) in [
            (0, "0s"),
            (17, "17ms"),
            (1000, "1s"),
            (59_500, "59.5s"),
            (60_000, "1m0s"),
            (90_951, "1m30.951s"),
            (360_000, "6m0s"),
            (86_399_010, "23h59m59.01s"),
        ] {
            assert_eq!(as_go_writes(Duration::from_millis(millis)), expected);
        }
        assert_eq!(as_go_writes(Duration::from_nanos(1)), "1ms");
    }
}
