//! The GPUs of all nodes, or of this machine in the HOME profile.

use pool_registry_types::{GpuStatus, NodeId};
use serde::Serialize;
use service_registry::NodesSnapshot;

/// `GET /v2/gpus`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GpusAnswer {
    /// Sorted by node, then in index order.
    pub gpus: Vec<GpuAnswer>,
}

/// One GPU, as its node last reported it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GpuAnswer {
    /// The node it is in.
    pub node_id: NodeId,
    /// As in the heartbeat.
    #[serde(flatten)]
    pub status: GpuStatus,
}

impl GpusAnswer {
    pub(crate) fn of_all(snapshot: &NodesSnapshot) -> Self {
        let mut answer = Self::default();
        for node in &snapshot.nodes {
            answer.add(&node.node_id, node.gpus.as_deref().unwrap_or_default());
        }
        answer
    }

    pub(crate) fn add(&mut self, node_id: &NodeId, gpus: &[GpuStatus]) {
        self.gpus.extend(gpus.iter().map(|status| GpuAnswer {
            node_id: node_id.clone(),
            status: status.clone(),
        }));
    }
}
