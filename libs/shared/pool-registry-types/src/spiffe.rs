//! The names of holders in certificates: SPIFFE ids, URIs that the control plane's CA has signed.

use crate::id::NodeId;

/// The URI in the certificate of the control plane.
pub const CONTROL_PLANE_URI: &str = "spiffe://llorch/control-plane";

/// What the URI in the certificate of a node begins with; the id of the node follows.
const NODE_URI: &str = "spiffe://llorch/node/";

/// The URI in the certificate of a node.
#[must_use]
pub fn node_uri(node: &NodeId) -> String {
    format!("{NODE_URI}{node}")
}

/// The node that a URI names.
#[must_use]
pub fn node_of_uri(uri: &str) -> Option<NodeId> {
    uri.strip_prefix(NODE_URI)?.parse().ok()
}
