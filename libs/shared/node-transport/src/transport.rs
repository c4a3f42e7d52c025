//! What the gateway asks of a node, and what the node reports.

use std::{fmt::Debug, time::Duration};

use futures_util::future::BoxFuture;
use http::Response;
use pool_registry_types::{ErrorCode, ReplicaId};
use routing_table::Endpoint;
use stream_proxy::{ForwardError, Outbound, ProxyBody, Timeouts};

/// A request for an endpoint.
#[derive(Debug)]
pub struct NodeRequest<'a> {
    /// The destination. Its replica is a hint: the node may use another one, unless `is_bound`.
    pub endpoint: &'a Endpoint,
    /// Only the replica of `endpoint` may serve the request: it holds what the request is about.
    pub is_bound: bool,
    /// The requested model.
    pub model: &'a str,
    /// The request itself. It may be sent again elsewhere when this attempt fails.
    pub outbound: &'a mut Outbound,
    /// Time limits for this attempt.
    pub timeouts: Timeouts,
}

/// Free and total slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slots {
    /// Slots that a request could take now.
    pub free: u32,
    /// All slots.
    pub total: u32,
}

/// What a node reports about itself with a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// The replica that served the request; `None` when the node does not report it, or used the
    /// chosen one.
    pub replica: Option<ReplicaId>,
    /// The slots of that replica, or of the pool where the endpoint is a whole pool.
    pub slots: Option<Slots>,
}

/// An engine's response.
#[derive(Debug)]
pub struct NodeResponse {
    /// The response without the node's report. Reading its body to the end, or dropping it, ends
    /// the request.
    pub response: Response<ProxyBody>,
    /// The node's report.
    pub report: NodeReport,
}

/// Why there is no response of an engine.
#[derive(Debug)]
pub enum TransportError {
    /// The node itself refuses this request.
    Refused(NodeRefusal),
    /// The response, with this status, did not come from a node's data path.
    NotANode(u16),
    /// No connection to the node, and so to none of its replicas.
    Unreachable(ForwardError),
    /// The node or its engine sent no valid HTTP response.
    Failed {
        /// The cause.
        error: ForwardError,
        /// The replica that failed; `None` stands for the chosen one.
        replica: Option<ReplicaId>,
    },
}

impl TransportError {
    /// A failure of the chosen replica.
    #[must_use]
    pub fn failed(error: ForwardError) -> Self {
        Self::Failed {
            error,
            replica: None,
        }
    }
}

/// A node's own refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRefusal {
    /// The reason; `None` for a code that this version does not know.
    pub code: Option<ErrorCode>,
    /// How long the node asks for no further requests.
    pub pause: Option<Duration>,
    /// One of its engines may have started the request before.
    pub executed: bool,
    /// The replica at fault; `None` when it is the pool or not known.
    pub replica: Option<ReplicaId>,
}

/// Sends requests to nodes.
pub trait NodeTransport: Debug + Send + Sync {
    /// Sends one request, and returns when the first byte of the response has arrived. Dropping the
    /// future cancels the request up to the engine.
    fn send<'a>(
        &'a self,
        request: NodeRequest<'a>,
    ) -> BoxFuture<'a, Result<NodeResponse, TransportError>>;
}
