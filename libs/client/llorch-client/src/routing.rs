//! How a client routes a request, and where the server ran it.

use std::time::Duration;

use pool_registry_types::{NodeId, headers};
use serde::Serialize;
use ureq::http::{HeaderMap, HeaderName};

/// Where a request may run, and how urgent it is. The default leaves everything to the server.
///
/// ```
/// use std::time::Duration;
///
/// use llorch_client::RoutingOptions;
///
/// let mut routing = RoutingOptions::default();
/// routing.session = Some("conversation-7".to_owned());
/// routing.deadline = Some(Duration::from_secs(30));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoutingOptions {
    /// The only node that may serve it.
    pub pin_node: Option<NodeId>,
    /// The session for session affinity.
    pub session: Option<String>,
    /// The placement strategy, instead of the server's default.
    pub strategy: Option<String>,
    /// The queue in which it waits.
    pub priority: Option<RequestPriority>,
    /// The time after which the server gives up.
    pub deadline: Option<Duration>,
}

/// The queue in which a request waits for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestPriority {
    /// A person waits for the answer.
    Interactive,
    /// Served when no interactive request waits.
    Batch,
}

impl RequestPriority {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}

impl RoutingOptions {
    pub(crate) fn headers(&self) -> impl Iterator<Item = (HeaderName, String)> + '_ {
        let priority = self.priority.map(|priority| priority.as_str().to_owned());
        let deadline = self
            .deadline
            .map(|deadline| deadline.as_millis().to_string());
        [
            (
                "x-llorch-pin-node",
                self.pin_node.as_ref().map(NodeId::to_string),
            ),
            ("x-session-id", self.session.clone()),
            ("x-llorch-strategy", self.strategy.clone()),
            ("x-priority", priority),
            ("x-deadline-ms", deadline),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), value?)))
    }
}

/// Which replica served a request, from the headers of the response. A server that does not send a
/// header leaves its field empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServedBy {
    /// The node.
    pub node_id: Option<String>,
    /// The pool of the node.
    pub pool_id: Option<String>,
    /// How many endpoints were tried.
    pub attempts: Option<u32>,
    /// The time in the queue, in milliseconds.
    pub queue_ms: Option<u64>,
    /// The id of the request in all logs.
    pub request_id: Option<String>,
}

impl ServedBy {
    pub(crate) fn from_headers(map: &HeaderMap) -> Self {
        let text = |name: HeaderName| map.get(name).and_then(|value| value.to_str().ok());
        Self {
            node_id: text(headers::NODE).map(str::to_owned),
            pool_id: text(headers::POOL).map(str::to_owned),
            attempts: text(headers::ATTEMPTS).and_then(|text| text.parse().ok()),
            queue_ms: text(headers::QUEUE_MS).and_then(|text| text.parse().ok()),
            request_id: text(headers::REQUEST_ID).map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_are_set_become_headers() {
        assert_eq!(RoutingOptions::default().headers().count(), 0);
        let routing = RoutingOptions {
            priority: Some(RequestPriority::Batch),
            deadline: Some(Duration::from_secs(2)),
            ..RoutingOptions::default()
        };
        let headers: Vec<_> = routing
            .headers()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(headers, ["x-priority: batch", "x-deadline-ms: 2000"]);
    }
}
