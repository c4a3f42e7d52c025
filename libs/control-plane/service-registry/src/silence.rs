//! Self-suspicion: when most nodes fall silent together, the fault is likely on this side.

use std::time::Duration;

use pool_registry_types::NodeId;

use crate::{
    Delta, Registry, SUSPICION_MAX,
    config::WINDOW,
    suspicion::{SilenceCount, Suspicion},
};

impl Registry {
    /// Updates self-suspicion after a node was lost, came back or left.
    pub(crate) fn update_suspicion(&mut self) {
        if !matches!(self.suspicion, Suspicion::Holding { .. }) {
            self.forget_lost_before(self.now.saturating_sub(self.window()));
        }
        let count = self.count();
        match self.suspicion {
            Suspicion::Holding { .. } => {
                if count.reachable * 2 >= count.total() {
                    self.suspicion = Suspicion::Releasing {
                        until: self.now + self.window(),
                    };
                    self.publish_suspicion(false, &count);
                }
            }
            Suspicion::None | Suspicion::Releasing { .. } => {
                if count.silent_majority() {
                    self.suspicion = Suspicion::Holding {
                        until: self.now + SUSPICION_MAX,
                    };
                    let together: Vec<NodeId> = self
                        .lost
                        .iter()
                        .map(|(_, node_id)| node_id.clone())
                        .collect();
                    for node_id in together {
                        self.set_held(&node_id, true);
                    }
                    self.revision += 1;
                    self.publish_suspicion(true, &count);
                }
            }
        }
    }

    /// Holds a node that is lost while this process suspects itself.
    pub(crate) fn hold_if_suspicious(&mut self, node_id: &NodeId) {
        let is_lost = self
            .nodes
            .get(node_id)
            .is_some_and(|node| node.lost_at.is_some());
        if is_lost && matches!(self.suspicion, Suspicion::Holding { .. }) {
            self.set_held(node_id, true);
        }
    }

    /// Ends self-suspicion: nodes that are still silent are lost.
    pub(crate) fn end_holds(&mut self) {
        if let Suspicion::Holding { .. } = self.suspicion {
            let count = self.count();
            self.publish_suspicion(false, &count);
        }
        self.suspicion = Suspicion::None;
        self.revision += 1;
        let held = self.nodes.iter().filter(|(_, node)| node.held);
        let held: Vec<NodeId> = held.map(|(node_id, _)| node_id.clone()).collect();
        for node_id in held {
            self.set_held(&node_id, false);
        }
    }

    /// Nodes lost within this time are lost together. It is the time in which every node reports
    /// once.
    fn window(&self) -> Duration {
        let paced = self.pace().next_heartbeat.mul_f64(WINDOW);
        self.config.heartbeat_interval().mul_f64(WINDOW).max(paced)
    }

    fn forget_lost_before(&mut self, from: Duration) {
        while let Some(first) = self.lost.first()
            && first.0 < from
        {
            self.lost.pop_first();
        }
    }

    fn count(&self) -> SilenceCount {
        SilenceCount {
            silent: self.lost.len(),
            reachable: self.fleet.reachable(),
        }
    }

    fn set_held(&mut self, node_id: &NodeId, held: bool) {
        let Some(node) = self.nodes.get_mut(node_id) else {
            return;
        };
        if node.held != held {
            node.held = held;
            self.mark_dirty(node_id);
            self.update_evictable(node_id);
            self.route(node_id);
        }
    }

    fn publish_suspicion(&mut self, on: bool, count: &SilenceCount) {
        self.deltas.push(Delta::SelfSuspicion {
            on,
            silent: count.silent,
            of: count.total(),
        });
    }
}
