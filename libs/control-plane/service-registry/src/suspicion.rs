//! When to suspect ourselves instead of the nodes.

use std::time::Duration;

use pool_registry_types::NodeId;

use crate::{Delta, MIN_FLEET, Registry, SUSPICION_MAX, config::WINDOW};

/// How far the silence of nodes is believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Trust {
    /// A silent node is gone.
    #[default]
    Full,
    /// More than half fell silent together: those of [`Registry::lost`], and those lost from now
    /// on, are held until `until` at the latest.
    Suspicious { until: Duration },
    /// Half of them speak again. The others keep their hold for one window more, because they
    /// report at different moments; who falls silent now is believed again.
    Releasing { until: Duration },
}

impl Trust {
    /// When the holds end.
    pub(crate) fn ends(self) -> Option<Duration> {
        match self {
            Self::Full => None,
            Self::Suspicious { until } | Self::Releasing { until } => Some(until),
        }
    }
}

/// How many nodes fell silent together, and how many speak. Those lost before are not counted.
struct Tally {
    silent: usize,
    speaking: usize,
}

impl Tally {
    fn of(&self) -> usize {
        self.silent + self.speaking
    }

    fn silent_majority(&self) -> bool {
        self.of() >= MIN_FLEET && self.silent * 2 > self.of()
    }
}

impl Registry {
    /// After a node was lost, came back or left.
    pub(crate) fn judge(&mut self) {
        if !matches!(self.trust, Trust::Suspicious { .. }) {
            self.forget_lost_before(self.now.saturating_sub(self.window()));
        }
        let tally = self.tally();
        match self.trust {
            Trust::Suspicious { .. } => {
                if tally.speaking * 2 >= tally.of() {
                    self.trust = Trust::Releasing {
                        until: self.now + self.window(),
                    };
                    self.tell(false, &tally);
                }
            }
            Trust::Full | Trust::Releasing { .. } => {
                if tally.silent_majority() {
                    self.trust = Trust::Suspicious {
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
                    self.tell(true, &tally);
                }
            }
        }
    }

    /// A node that is lost while this process suspects itself is held like those lost before.
    pub(crate) fn hold_if_suspicious(&mut self, node_id: &NodeId) {
        let is_lost = self
            .nodes
            .get(node_id)
            .is_some_and(|node| node.lost_at.is_some());
        if is_lost && matches!(self.trust, Trust::Suspicious { .. }) {
            self.set_held(node_id, true);
        }
    }

    /// Time is up: who is still silent is believed to be gone.
    pub(crate) fn end_holds(&mut self) {
        if let Trust::Suspicious { .. } = self.trust {
            let tally = self.tally();
            self.tell(false, &tally);
        }
        self.trust = Trust::Full;
        self.revision += 1;
        let held = self.nodes.iter().filter(|(_, node)| node.held);
        let held: Vec<NodeId> = held.map(|(node_id, _)| node_id.clone()).collect();
        for node_id in held {
            self.set_held(&node_id, false);
        }
    }

    /// Nodes lost within this time of each other are lost together. It is as long as nodes take to
    /// be heard all once.
    fn window(&self) -> Duration {
        let paced = self.pace().next_heartbeat.mul_f64(WINDOW);
        self.config.heartbeat_interval.mul_f64(WINDOW).max(paced)
    }

    fn forget_lost_before(&mut self, from: Duration) {
        while let Some(first) = self.lost.first()
            && first.0 < from
        {
            self.lost.pop_first();
        }
    }

    fn tally(&self) -> Tally {
        Tally {
            silent: self.lost.len(),
            speaking: self.fleet.speaking(),
        }
    }

    fn set_held(&mut self, node_id: &NodeId, held: bool) {
        let Some(node) = self.nodes.get_mut(node_id) else {
            return;
        };
        if node.held != held {
            node.held = held;
            self.touch(node_id);
            self.review_spare(node_id);
            self.route(node_id);
        }
    }

    fn tell(&mut self, on: bool, tally: &Tally) {
        self.deltas.push(Delta::SelfSuspicion {
            on,
            silent: tally.silent,
            of: tally.of(),
        });
    }
}
