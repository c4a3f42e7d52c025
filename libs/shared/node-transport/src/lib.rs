//! Send a request to the node of an endpoint.
//!
//! [`NodeTransport`] is all that the gateway knows of nodes. Over TCP a node's report travels in
//! headers; a node in the same process hands it over as it is. Nothing else differs between one
//! machine and many.

mod tcp;

use std::{fmt::Debug, time::Duration};

use futures_util::future::BoxFuture;
use http::Response;
use pool_registry_types::{ErrorCode, ReplicaId};
use routing_table::Endpoint;
use stream_proxy::{ForwardError, Outbound, ProxyBody, Timeouts};
pub use tcp::{NODE_IDLE, Tcp, asked_pause};

/// A request for an endpoint.
#[derive(Debug)]
pub struct NodeRequest<'a> {
    /// Where it is to go. Its replica is a hint: the node may know better.
    pub endpoint: &'a Endpoint,
    /// The model asked for.
    pub model: &'a str,
    /// The request itself. It may be sent again elsewhere when this comes to nothing.
    pub outbound: &'a mut Outbound,
    /// Time limits for this try.
    pub clocks: Timeouts,
}

/// Free and total slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slots {
    /// Those that a request could take now.
    pub free: u32,
    /// All of them.
    pub total: u32,
}

/// What a node says of itself with an answer or a refusal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// The replica that it used; `None` where it does not say, or it is the one that was chosen.
    pub replica: Option<ReplicaId>,
    /// The slots of that replica, or of the pool where the node does not tell its replicas apart.
    pub slots: Option<Slots>,
}

/// An engine's answer.
#[derive(Debug)]
pub struct NodeAnswer {
    /// The answer, without what the node says of itself. Reading its body to the end, or dropping
    /// it, ends the request.
    pub response: Response<ProxyBody>,
    /// What the node says of itself.
    pub report: NodeReport,
}

/// Why there is no engine's answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// The node itself says that it does not serve this request.
    Refused(NodeRefusal),
    /// What answered, with that status, is not a node's data path.
    NotANode(u16),
    /// The node cannot be reached, with none of its replicas.
    Unreachable(ForwardError),
    /// The node, or its engine, did not answer as HTTP knows it.
    Failed {
        /// How it failed.
        error: ForwardError,
        /// The replica that it failed with; `None` where nobody says, and then it is the one that
        /// was chosen.
        replica: Option<ReplicaId>,
    },
}

impl NoAnswer {
    /// A failure with the replica that was chosen.
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
    /// Why; `None` for a code that this version does not know.
    pub code: Option<ErrorCode>,
    /// For how long it asks to be left alone.
    pub pause: Option<Duration>,
    /// One of its engines may have begun with the request before.
    pub executed: bool,
    /// The replica that it is about; `None` where it is about the pool, or nobody says.
    pub replica: Option<ReplicaId>,
}

/// Sends requests to nodes.
pub trait NodeTransport: Debug + Send + Sync {
    /// Sends one request, and returns when the answer's first byte is there. Dropping the future
    /// cancels it up to the engine.
    fn send<'a>(&'a self, request: NodeRequest<'a>) -> BoxFuture<'a, Result<NodeAnswer, NoAnswer>>;
}

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
