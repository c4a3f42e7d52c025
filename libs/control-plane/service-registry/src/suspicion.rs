//! When to suspect ourselves instead of the nodes.

use std::time::Duration;

use crate::{Delta, MIN_FLEET, Registry, SUSPICION_MAX, node::Node};

/// How far the silence of nodes is believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Trust {
    /// A silent node is gone.
    #[default]
    Full,
    /// More than half fell silent together: those lost from `from` on are held, until `until` at the latest.
    Suspicious { from: Duration, until: Duration },
    /// Half of them speak again. The others keep their hold for one window more, because they report at
    /// different moments; who falls silent now is believed again.
    Releasing { until: Duration },
}

impl Trust {
    /// When the holds end.
    pub(crate) fn ends(self) -> Option<Duration> {
        match self {
            Self::Full => None,
            Self::Suspicious { until, .. } | Self::Releasing { until } => Some(until),
        }
    }
}

/// How many nodes fell silent from some time on, and how many speak. Those lost before are not counted.
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
        match self.trust {
            Trust::Suspicious { from, .. } => {
                self.hold(from);
                let tally = self.tally(from);
                if tally.speaking * 2 >= tally.of() {
                    self.trust = Trust::Releasing {
                        until: self.now + self.config.window(),
                    };
                    self.tell(false, &tally);
                }
            }
            Trust::Full | Trust::Releasing { .. } => {
                let from = self.now.saturating_sub(self.config.window());
                let tally = self.tally(from);
                if tally.silent_majority() {
                    self.trust = Trust::Suspicious {
                        from,
                        until: self.now + SUSPICION_MAX,
                    };
                    self.hold(from);
                    self.tell(true, &tally);
                }
            }
        }
    }

    /// Time is up: who is still silent is believed to be gone.
    pub(crate) fn end_holds(&mut self) {
        if let Trust::Suspicious { from, .. } = self.trust {
            let tally = self.tally(from);
            self.tell(false, &tally);
        }
        self.trust = Trust::Full;
        self.revision += 1;
        self.set_held(|_| false);
    }

    fn tally(&self, from: Duration) -> Tally {
        let lost = |at: Option<Duration>| at.is_some_and(|at| at >= from);
        Tally {
            silent: self.nodes.values().filter(|node| lost(node.lost_at)).count(),
            speaking: self.nodes.values().filter(|node| node.lost_at.is_none()).count(),
        }
    }

    fn hold(&mut self, from: Duration) {
        self.set_held(|node| node.held || node.lost_at.is_some_and(|at| at >= from));
        self.revision += 1;
    }

    fn set_held(&mut self, held: impl Fn(&Node) -> bool) {
        for (node_id, node) in &mut self.nodes {
            let held = held(node);
            if node.held != held {
                node.held = held;
                self.touched.insert(node_id.clone());
            }
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
