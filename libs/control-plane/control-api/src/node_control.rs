//! How requests of operators reach nodes.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use http::StatusCode;
use http_server::ApiError;
use pool_registry_types::ErrorCode;
use service_registry::NodeView;

/// The future answer of a node: its status and its body.
pub type NodeReply = Pin<Box<dyn Future<Output = Result<(StatusCode, Bytes), ApiError>> + Send>>;

/// Sends requests to the control routes of nodes.
pub trait NodeControl: Send + Sync {
    /// `POST` of the JSON `body`, which may be empty, to the `path` of `node`, such as
    /// `/v2/pools/p/restart`.
    ///
    /// The node answers when it is done: a restart when the engines of the pool have started. An
    /// implementation bounds the size of the answer.
    ///
    /// # Errors
    /// `NODE_UNAVAILABLE` when the node cannot be reached. An error answer of the node is an
    /// answer.
    fn post(&self, node: &NodeView, path: &str, body: Bytes) -> NodeReply;
}

/// A control plane without a way to nodes.
pub(crate) struct Unconnected;

impl NodeControl for Unconnected {
    fn post(&self, node: &NodeView, _: &str, _: Bytes) -> NodeReply {
        let message = format!(
            "node {} cannot be reached from this control plane",
            node.node_id
        );
        Box::pin(async { Err(ApiError::new(ErrorCode::NodeUnavailable, message)) })
    }
}

/// A shared way to nodes.
pub(crate) type SharedNodeControl = Arc<dyn NodeControl>;
