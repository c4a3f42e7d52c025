//! What a client may ask of the way a request goes, and what an answer says of the way it went.

use pool_registry_types::{NodeId, headers};
use serde::Serialize;
use ureq::http::{HeaderMap, HeaderName};

/// Where a request may go and how urgent it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    /// Only this node will do.
    pub pin_node: Option<NodeId>,
    /// The conversation it belongs to.
    pub session: Option<String>,
    /// How to choose among free endpoints.
    pub strategy: Option<String>,
    /// `interactive` or `batch`.
    pub priority: Option<String>,
    /// No answer is wanted after so many milliseconds.
    pub deadline_ms: Option<u64>,
}

impl Routing {
    pub(crate) fn headers(&self) -> impl Iterator<Item = (HeaderName, String)> + '_ {
        let deadline = self.deadline_ms.map(|ms| ms.to_string());
        [
            (
                "x-llorch-pin-node",
                self.pin_node.as_ref().map(NodeId::to_string),
            ),
            ("x-session-id", self.session.clone()),
            ("x-llorch-strategy", self.strategy.clone()),
            ("x-priority", self.priority.clone()),
            ("x-deadline-ms", deadline),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), value?)))
    }
}

/// Who answered and how the request got there; empty where a server does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Served {
    /// The node.
    pub node_id: Option<String>,
    /// Its pool.
    pub pool_id: Option<String>,
    /// How many endpoints were tried.
    pub attempts: Option<u32>,
    /// How long the request waited for a slot, in milliseconds.
    pub queue_ms: Option<u64>,
    /// Its name in every log.
    pub request_id: Option<String>,
}

impl Served {
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
