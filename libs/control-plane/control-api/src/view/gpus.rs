//! The GPUs of all nodes.

use pool_registry_types::{GpuStatus, NodeId};
use serde::Serialize;
use service_registry::NodesPage;

use crate::pages::next_after;

/// `GET /v2/gpus`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GpusAnswer {
    /// Sorted by node, then in index order.
    pub gpus: Vec<GpuAnswer>,
    /// There are more nodes: ask for those after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<NodeId>,
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
    pub(crate) fn of(page: &NodesPage) -> Self {
        let mut gpus = Vec::new();
        for node in &page.nodes {
            gpus.extend(
                node.gpus
                    .iter()
                    .flat_map(|gpus| gpus.iter())
                    .map(|status| GpuAnswer {
                        node_id: node.node_id.clone(),
                        status: status.clone(),
                    }),
            );
        }
        Self {
            gpus,
            next_after: next_after(page),
        }
    }
}
