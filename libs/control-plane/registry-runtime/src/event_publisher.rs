//! Publishes changes of nodes and pools in the event log.

use event_log::{EventKind, EventLog, NewEvent, PoolChanges};
use pool_registry_types::{NodeId, NodeStatus};
use service_registry::{Delta, Target};

/// Turns deltas of the registry into events.
#[derive(Debug)]
pub(crate) struct EventPublisher {
    events: EventLog,
    pools: PoolChanges,
}

impl EventPublisher {
    pub(crate) fn new(events: EventLog) -> Self {
        Self {
            events,
            pools: PoolChanges::default(),
        }
    }

    /// Publishes that a node was refused.
    pub(crate) fn node_refused(&self, from: &str, node_id: Option<&NodeId>, reason: &str) {
        let event = NewEvent::new(EventKind::NodeRefused, format!("refused {from}: {reason}"));
        self.events.publish(match node_id {
            Some(node_id) => event.node(node_id),
            None => event,
        });
    }

    pub(crate) fn publish(&mut self, delta: &Delta) {
        match delta {
            Delta::Changed { node_id, pools } => {
                let pools = pools.iter().map(AsRef::as_ref);
                for event in self.pools.reported(node_id, pools) {
                    self.events.publish(event);
                }
            }
            other => {
                if let Delta::Left { node_id, .. } = other {
                    self.pools.left(node_id);
                }
                if let Some(event) = node_event(other) {
                    self.events.publish(event);
                }
            }
        }
    }
}

fn node_event(delta: &Delta) -> Option<NewEvent> {
    Some(match delta {
        Delta::Joined {
            node_id, address, ..
        } => NewEvent::new(EventKind::NodeJoined, format!("joined at {address}")).node(node_id),
        Delta::Restarted {
            node_id, address, ..
        } => NewEvent::new(
            EventKind::NodeJoined,
            format!("joined again, restarted, at {address}"),
        )
        .node(node_id),
        Delta::Moved { node_id, from, to } => {
            NewEvent::new(EventKind::NodeJoined, format!("moved from {from} to {to}")).node(node_id)
        }
        Delta::StatusChanged {
            node_id,
            from,
            to,
            reason,
        } => NewEvent::new(status_event_kind(*from, *to)?, reason.as_str()).node(node_id),
        Delta::DrainChanged { target, draining } => drain_event(target, *draining),
        Delta::DrainDropped { node_id, pool_id } => NewEvent::new(
            EventKind::PoolUndrained,
            "its drain is dropped: the node does not report the pool and has as many drains as it \
             may have",
        )
        .node(node_id)
        .pool(pool_id),
        Delta::HandoffRefused {
            node_id,
            file,
            reason,
        } => {
            let message = match reason {
                Some(reason) => format!("{file}: {reason}"),
                None => format!("over: {file} is not refused any more"),
            };
            NewEvent::new(EventKind::HandoffRefused, message).node(node_id)
        }
        Delta::GpuProblem {
            node_id,
            device_id,
            problem,
        } => {
            let message = match problem {
                Some(problem) => format!("GPU {device_id}: {problem}"),
                None => format!("over: GPU {device_id} works again"),
            };
            NewEvent::new(EventKind::GpuProblem, message).node(node_id)
        }
        Delta::Left { node_id, reason } => {
            NewEvent::new(EventKind::NodeLeft, reason.to_string()).node(node_id)
        }
        Delta::SelfSuspicion {
            on: true,
            silent,
            of,
        } => {
            let message = format!(
                "{silent} of {of} nodes fell silent together: the fault is more likely on this \
                 side, so they stay routable"
            );
            NewEvent::new(EventKind::SelfSuspicion, message)
        }
        Delta::SelfSuspicion {
            on: false,
            silent,
            of,
        } => {
            let message =
                format!("over: {silent} of {of} nodes are silent, and lose their requests");
            NewEvent::new(EventKind::SelfSuspicion, message)
        }
        _ => return None,
    })
}

/// The event for a change of status. A drain has its own event when an operator asks for it.
fn status_event_kind(from: NodeStatus, to: NodeStatus) -> Option<EventKind> {
    match (from, to) {
        (_, NodeStatus::Offline) => Some(EventKind::NodeOffline),
        (_, NodeStatus::Unreachable) => Some(EventKind::NodeUnreachable),
        (
            NodeStatus::Offline | NodeStatus::Unreachable,
            NodeStatus::Online | NodeStatus::Draining,
        ) => Some(EventKind::NodeOnline),
        _ => None,
    }
}

fn drain_event(target: &Target, draining: bool) -> NewEvent {
    let message = if draining {
        "an operator wants no new requests there"
    } else {
        "an operator lets it take requests again"
    };
    let kind = match (target, draining) {
        (Target::Node(_), true) => EventKind::NodeDrained,
        (Target::Node(_), false) => EventKind::NodeUndrained,
        (Target::Pool(..), true) => EventKind::PoolDrained,
        (Target::Pool(..), false) => EventKind::PoolUndrained,
    };
    let event = NewEvent::new(kind, message);
    match target {
        Target::Node(node_id) => event.node(node_id),
        Target::Pool(node_id, pool_id) => event.node(node_id).pool(pool_id),
    }
}

#[cfg(test)]
mod tests {
    use pool_registry_types::PoolId;
    use service_registry::LeftReason;

    use super::*;

    fn published(deltas: &[Delta]) -> Vec<String> {
        let events = EventLog::new();
        let mut publisher = EventPublisher::new(events.clone());
        for delta in deltas {
            publisher.publish(delta);
        }
        events
            .latest(usize::MAX)
            .iter()
            .map(|event| format!("{} {}", event.kind.as_str(), event.message))
            .collect()
    }

    // spec: SEE-5
    #[test]
    fn each_change_of_a_node_is_published_once() {
        let node_id = NodeId::new("n").unwrap();
        let change = |from, to| Delta::StatusChanged {
            node_id: node_id.clone(),
            from,
            to,
            reason: "because".to_owned(),
        };
        let pool = Target::Pool(node_id.clone(), PoolId::new("p").unwrap());
        let drain = |target, draining| Delta::DrainChanged { target, draining };
        let deltas = [
            change(NodeStatus::Online, NodeStatus::Unreachable),
            change(NodeStatus::Unreachable, NodeStatus::Offline),
            change(NodeStatus::Offline, NodeStatus::Online),
            drain(Target::Node(node_id.clone()), true),
            change(NodeStatus::Online, NodeStatus::Draining),
            change(NodeStatus::Draining, NodeStatus::Online),
            drain(pool, false),
            Delta::Left {
                node_id: node_id.clone(),
                reason: LeftReason::Deregistered,
            },
        ];
        assert_eq!(
            published(&deltas),
            [
                "node_unreachable because",
                "node_offline because",
                "node_online because",
                "node_drained an operator wants no new requests there",
                "pool_undrained an operator lets it take requests again",
                "node_left deregistered",
            ]
        );
    }
}
