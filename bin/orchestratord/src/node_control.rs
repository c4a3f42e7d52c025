//! What operators ask of a node, on its way there.

use std::time::Duration;

use bytes::Bytes;
use control_api::{NodeControl, NodeReply};
use http::{
    HeaderMap, HeaderValue, Method,
    header::{AUTHORIZATION, CONTENT_TYPE},
    uri::PathAndQuery,
};
use http_body_util::{BodyExt as _, Limited};
use http_server::ApiError;
use node_api::LocalControl;
use node_transport::NODE_IDLE;
use pool_registry_types::{ErrorCode, MAX_NODE_BODY_BYTES};
use service_registry::NodeView;
use stream_proxy::{Outbound, StreamProxy, Timeouts};

/// How long a node may take for a change. It answers a restart when all engines of the pool have
/// started, one after the other, and a large model loads for minutes.
const LONGEST_CHANGE: Duration = Duration::from_secs(60 * 60);

/// To the nodes over TCP.
pub(crate) struct OverTcp {
    pub(crate) proxy: StreamProxy,
    /// What nodes ask for, as the value of `Authorization`.
    pub(crate) token: Option<HeaderValue>,
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
            let answer = proxy.forward(&address, &request, timeouts).await;
            let (head, body) = answer.map_err(|error| unavailable(&error))?.into_parts();
            let body = Limited::new(body, MAX_NODE_BODY_BYTES).collect().await;
            let body = body.map_err(|error| unavailable(&*error))?.to_bytes();
            Ok((head.status, body))
        })
    }
}

/// To the node in this process.
pub(crate) struct InProcess(pub(crate) LocalControl);

impl NodeControl for InProcess {
    fn post(&self, _: &NodeView, path: &str, body: Bytes) -> NodeReply {
        let (control, path) = (self.0.clone(), path.to_owned());
        Box::pin(async move { Ok(control.post(&path, body).await) })
    }
}
