//! Log lines about nodes: one for each change, with what to do where something is wrong.

use pool_registry_types::NodeStatus;
use service_registry::{Delta, DisplayPools, RegistryError};

pub(crate) fn log_delta(delta: &Delta) {
    match delta {
        Delta::Joined {
            node_id,
            machine_id,
            address,
            incarnation,
        } => tracing::info!(%node_id, %machine_id, %address, incarnation, "Node joined"),
        Delta::Restarted {
            node_id,
            machine_id,
            address,
            incarnation,
        } => tracing::info!(%node_id, %machine_id, %address, incarnation, "Node restarted"),
        Delta::Moved { node_id, from, to } => {
            tracing::info!(%node_id, %from, %to, "Node has a new address");
        }
        Delta::Changed { node_id, pools } => {
            tracing::info!(%node_id, pools = %DisplayPools(pools), "Heartbeat changed state");
        }
        Delta::StatusChanged {
            node_id,
            from,
            to,
            reason,
        } => log_status(node_id, *from, *to, reason),
        Delta::DrainChanged { target, draining } => {
            tracing::info!(%target, draining, "An operator changed a drain");
        }
        Delta::DrainDropped { node_id, pool_id } => tracing::warn!(
            %node_id, %pool_id,
            "The drain of a pool that its node does not report is dropped, because the node has \
             the most drains allowed; drain the pool again if it returns"
        ),
        Delta::Left { node_id, reason } => tracing::info!(%node_id, %reason, "Node left"),
        Delta::Stalled { gap } => tracing::warn!(
            gap_ms = gap.as_millis(),
            "This process did not run for a while, so the deadlines of all nodes moved; look for a \
             suspended machine, a stopped process or a starved CPU"
        ),
        Delta::SelfSuspicion { on, silent, of } => log_self_suspicion(*on, *silent, *of),
        other => tracing::info!(?other, "The registry changed"),
    }
}

fn log_status(
    node_id: &pool_registry_types::NodeId,
    from: NodeStatus,
    to: NodeStatus,
    reason: &str,
) {
    match to {
        NodeStatus::Offline => tracing::warn!(
            %node_id, %from, reason,
            "Node is offline and gets no requests until it reports again; check its agent and the \
             network"
        ),
        NodeStatus::Unreachable => tracing::warn!(
            %node_id, %from, reason,
            "Node reports but cannot be reached, so it gets no requests; check that its \
             registered address is right and its port open"
        ),
        NodeStatus::Online | NodeStatus::Draining => {
            tracing::info!(%node_id, %from, %to, reason, "Node status changed");
        }
    }
}

fn log_self_suspicion(on: bool, silent: usize, of: usize) {
    if on {
        tracing::warn!(
            silent,
            of,
            "Most nodes fell silent together, so the fault is more likely here: they stay \
             routable for up to ten minutes; check this machine's network and load"
        );
    } else {
        tracing::warn!(
            silent,
            of,
            "No longer suspecting this side: nodes that stay silent lose their requests"
        );
    }
}

pub(crate) fn log_refusal(error: &RegistryError) {
    match error {
        RegistryError::NodeIdConflict { .. } | RegistryError::HolderAnswers { .. } => {
            tracing::warn!(%error, "Registration refused: two machines want one node id");
        }
        RegistryError::StaleIncarnation { .. } => {
            tracing::warn!(%error, "Message of an earlier incarnation of a node refused");
        }
        RegistryError::TooManyNodes { .. } => {
            tracing::warn!(%error, "Registration refused: too many nodes are known");
        }
        RegistryError::UnknownNode { .. } => {
            tracing::debug!(%error, "Message of an unknown node refused");
        }
        other => tracing::info!(error = %other, "Message refused"),
    }
}
