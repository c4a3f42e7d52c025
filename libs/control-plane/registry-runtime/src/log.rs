//! Log lines about nodes: one for each change, with what to do where something is wrong.

use pool_registry_types::{NodeId, NodeStatus};
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
        Delta::HandoffRefused {
            node_id,
            file,
            reason: Some(reason),
        } => tracing::warn!(
            %node_id, file, reason,
            "Node refuses a handoff; correct or remove the file on the node"
        ),
        Delta::HandoffRefused { node_id, file, .. } => {
            tracing::info!(%node_id, file, "Node refuses a handoff no more");
        }
        Delta::GpuProblem {
            node_id,
            device_id,
            problem: Some(problem),
        } => tracing::warn!(
            %node_id, device_id, problem,
            "A GPU of the node has a problem; see `dmesg` and `nvidia-smi` on the node"
        ),
        Delta::GpuProblem {
            node_id, device_id, ..
        } => tracing::info!(%node_id, device_id, "A GPU of the node works again"),
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

fn log_status(node_id: &NodeId, from: NodeStatus, to: NodeStatus, reason: &str) {
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

pub(crate) fn log_refused_node(from: &str, node_id: Option<&NodeId>, reason: &str) {
    tracing::warn!(
        from,
        node_id = node_id.map(tracing::field::display),
        reason,
        "A node is refused: correct its settings, or stop its agent"
    );
}

pub(crate) fn log_refusal(error: &RegistryError) {
    match error {
        // These are logged with the node that was refused, and not with each of its tries.
        RegistryError::NodeIdConflict { .. }
        | RegistryError::HolderAnswers { .. }
        | RegistryError::TooManyNodes { .. } => {
            tracing::debug!(%error, "Registration refused");
        }
        RegistryError::StaleIncarnation { .. } => {
            tracing::warn!(%error, "Message of an earlier incarnation of a node refused");
        }
        RegistryError::UnknownNode { .. } => {
            tracing::debug!(%error, "Message of an unknown node refused");
        }
        other => tracing::info!(error = %other, "Message refused"),
    }
}
