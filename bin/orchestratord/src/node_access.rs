//! How this process reaches nodes: over TCP in CLOUD, by function calls in HOME.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use control_api::{NodeControl, NodeReply};
use http::{
    HeaderMap, HeaderValue, Method,
    header::{AUTHORIZATION, CONTENT_TYPE},
    uri::PathAndQuery,
};
use http_body_util::{BodyExt as _, Limited};
use http_server::ApiError;
use local_node::Node;
use node_api::LocalControl;
use node_transport::{NODE_IDLE, NodeTransport, TcpTransport};
use pool_registry_types::{ErrorCode, MAX_NODE_BODY_BYTES};
use service_registry::NodeView;
use stream_proxy::{Outbound, StreamProxy, Timeouts};

/// The longest time for a change on a node. A restart is answered when all engines of the pool have
/// started, one after the other, and a large model loads for minutes.
const LONGEST_CHANGE: Duration = Duration::from_secs(60 * 60);

/// The way of requests to engines, and of operators' changes to nodes.
pub(crate) struct NodeAccess {
    pub(crate) transport: Arc<dyn NodeTransport>,
    pub(crate) control: Arc<dyn NodeControl>,
}

impl NodeAccess {
    /// To nodes over TCP. `token` is the value of `Authorization`.
    pub(crate) fn over_tcp(proxy: StreamProxy, token: Option<HeaderValue>) -> Self {
        Self {
            transport: Arc::new(TcpTransport::new(proxy.clone(), token.clone())),
            control: Arc::new(OverTcp { proxy, token }),
        }
    }

    /// To the node in this process.
    pub(crate) fn in_process(node: &Node) -> Self {
        Self {
            transport: Arc::new(node.dispatcher().clone()),
            control: Arc::new(InProcess(node.control())),
        }
    }
}

/// Sends changes to nodes over TCP.
struct OverTcp {
    proxy: StreamProxy,
    /// The token that nodes require, as the value of `Authorization`.
    token: Option<HeaderValue>,
}

impl NodeControl for OverTcp {
    fn post(&self, node: &NodeView, path: &str, body: Bytes) -> NodeReply {
        let (proxy, token) = (self.proxy.clone(), self.token.clone());
        let (address, node_id) = (node.address.clone(), node.node_id.clone());
        let path = PathAndQuery::try_from(path);
        Box::pin(async move {
            let unavailable = |why: &dyn std::error::Error| {
                ApiError::new(
                    ErrorCode::NodeUnavailable,
                    format!("node {node_id} did not answer: {why}"),
                )
            };
            let path = path.map_err(|error| unavailable(&error))?;
            let json = HeaderValue::from_static("application/json");
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
            let mut request = Outbound::new(Method::POST, path, headers, body);
            request
                .set_headers
                .extend(token.map(|token| (AUTHORIZATION, token)));
            let timeouts = Timeouts {
                first_byte: LONGEST_CHANGE,
                idle: NODE_IDLE,
                ..Timeouts::default()
            };
            let answer = proxy.forward_to(Some(&node_id), &address, &request, timeouts);
            let answer = answer.await;
            let (head, body) = answer.map_err(|error| unavailable(&error))?.into_parts();
            let body = Limited::new(body, MAX_NODE_BODY_BYTES).collect().await;
            let body = body.map_err(|error| unavailable(&*error))?.to_bytes();
            Ok((head.status, body))
        })
    }
}

/// Passes changes to the node in this process.
struct InProcess(LocalControl);

impl NodeControl for InProcess {
    fn post(&self, _: &NodeView, path: &str, body: Bytes) -> NodeReply {
        let (control, path) = (self.0.clone(), path.to_owned());
        Box::pin(async move { Ok(control.post(&path, body).await) })
    }
}
