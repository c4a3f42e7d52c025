//! How a request of an operator reaches the node that carries it out.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use http::StatusCode;
use http_server::ApiError;
use pool_registry_types::ErrorCode;
use service_registry::NodeView;

/// A node's answer that is on its way: its status and its body.
pub type NodeReply = Pin<Box<dyn Future<Output = Result<(StatusCode, Bytes), ApiError>> + Send>>;

/// Passes requests to the control routes of nodes.
pub trait NodeControl: Send + Sync {
    /// `POST` of the JSON `body`, which may be empty, to the `path` of `node`, such as
    /// `/v2/pools/p/restart`.
    ///
    /// The answer comes when the node has it: a restart is answered when the engines of the pool
    /// have started. Whoever implements this bounds the size of the answer.
    ///
    /// # Errors
    /// `NODE_UNAVAILABLE` when the node cannot be reached. What it answers, errors included, is an
    /// answer.
    fn post(&self, node: &NodeView, path: &str, body: Bytes) -> NodeReply;
}

/// Where nobody has said how nodes are reached.
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

/// Who is asked; a clone is the same.
pub(crate) type SharedNodeControl = Arc<dyn NodeControl>;
