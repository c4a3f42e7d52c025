//! Response headers that tell the client how its request was served.

use admission::Lease;
use http::{HeaderMap, HeaderValue};
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

/// The replica that the node reports, else the chosen one. The usual case, the chosen one, does
/// not allocate.
fn replica_label(endpoint: &Endpoint, report: &NodeReport) -> Option<HeaderValue> {
    let chosen = &endpoint.key().replica;
    match &report.replica {
        Some(used) if chosen.as_ref() != Some(used) => HeaderValue::from_str(used.as_str()).ok(),
        _ => endpoint.labels().replica.clone(),
    }
}
