//! The registry's state, its clock, and how a change spreads: status, deltas, suspicion.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use pool_registry_types::{NodeId, NodeStatus};

use crate::{
    Config, Delta, FORGET_AFTER, LeftReason, PULSE, STALL, deadlines::Deadlines, intent::Intent, node::Node,
    suspicion::Trust,
};

/// Which nodes are online. See the crate's documentation.
///
/// Time never goes back in it: an event with an earlier `now` than the one before counts as simultaneous with it.
///
/// ```
/// use std::time::Duration;
/// use pool_registry_types::{HttpUrl, MachineId, NodeId, NodeStatus, RegisterRequest};
/// use service_registry::{Config, Registry};
///
/// let second = Duration::from_secs;
/// let node = NodeId::new("gpu-node-1")?;
/// let mut registry = Registry::new(Config::default());
/// let request = RegisterRequest {
///     node_id: node.clone(),
///     machine_id: MachineId::new("machine-alpha")?,
///     address: HttpUrl::new("http://192.168.1.100:9200")?,
///     pools: vec![],
///     capabilities: Default::default(),
///     version: None,
///     incarnation: Some(1),
///     metrics_address: None,
/// };
/// registry.register(request, second(0))?;
/// for now in 1..30 {
///     registry.tick(second(now));
/// }
/// assert_eq!(registry.status(&node), Some(NodeStatus::Online));
/// registry.tick(second(30));
/// assert_eq!(registry.status(&node), Some(NodeStatus::Offline));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    pub(crate) config: Config,
    pub(crate) now: Duration,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) intents: BTreeMap<NodeId, Intent>,
    pub(crate) deadlines: Deadlines,
    pub(crate) trust: Trust,
    /// Counts reports over all nodes and lives, so that no endpoint ever shows the same number twice.
    pub(crate) reports: u64,
    pub(crate) revision: u64,
    pub(crate) deltas: Vec<Delta>,
    /// Nodes of which a store has something else than what is known now.
    pub(crate) touched: BTreeSet<NodeId>,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            now: Duration::ZERO,
            nodes: BTreeMap::new(),
            intents: BTreeMap::new(),
            deadlines: Deadlines::default(),
            trust: Trust::Full,
            reports: 0,
            revision: 0,
            deltas: Vec::new(),
            touched: BTreeSet::new(),
        }
    }

    /// What it was built with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Lets time pass: nodes whose deadline has come go offline.
    pub fn tick(&mut self, now: Duration) {
        self.advance(now);
    }

    /// When [`tick`](Self::tick) must be called at the latest; `None` while nothing can become due.
    ///
    /// It is the exact deadline of the node that is next to go offline or be forgotten, or a [`PULSE`] from now
    /// when that is sooner and a node is alive.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let pulse = self.any_alive().then(|| self.now + PULSE);
        [self.deadlines.first(), self.trust.ends(), pulse]
            .into_iter()
            .flatten()
            .min()
    }

    /// The changes since the last call, in the order they happened.
    #[must_use]
    pub fn take_deltas(&mut self) -> Vec<Delta> {
        std::mem::take(&mut self.deltas)
    }

    /// Rises whenever a reader of [`snapshot`](Self::snapshot) or [`endpoints`](Self::endpoints) would see a change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The node's status; `None` when it is not known.
    #[must_use]
    pub fn status(&self, node_id: &NodeId) -> Option<NodeStatus> {
        self.nodes.get(node_id).map(|node| node.status)
    }

    fn any_alive(&self) -> bool {
        self.nodes.values().any(|node| !node.observed.offline)
    }

    /// Every event begins here: what was due before it happens before it. Returns the time of the event.
    pub(crate) fn advance(&mut self, now: Duration) -> Duration {
        let now = now.max(self.now);
        let gap = now - self.now;
        self.now = now;
        if gap > STALL && self.any_alive() {
            self.give_back(gap);
        }
        while let Some(node_id) = self.deadlines.pop_due(now) {
            self.expire(&node_id);
        }
        if self.trust.ends().is_some_and(|end| end <= now) {
            self.end_holds();
        }
        now
    }

    /// This process did not run for `gap`, so nobody could have been heard: nobody's time ran.
    fn give_back(&mut self, gap: Duration) {
        for (node_id, node) in self.nodes.iter_mut().filter(|(_, node)| !node.observed.offline) {
            if let Some(deadline) = self.deadlines.of(node_id) {
                self.deadlines.set(node_id, deadline + gap);
            }
            // A probe under way timed out because we slept.
            if !node.evidence.unreachable() {
                node.evidence.failed_probes = 0;
            }
        }
        self.deltas.push(Delta::Stalled { gap });
    }

    /// The node's deadline has come: it goes offline, or if it is, it is forgotten.
    fn expire(&mut self, node_id: &NodeId) {
        let Some(node) = self.nodes.get_mut(node_id) else {
            return;
        };
        if node.observed.offline {
            self.forget(node_id, LeftReason::Forgotten);
        } else {
            node.observed.offline = true;
            let forget_at = node.observed.forget_at.unwrap_or(self.now + FORGET_AFTER);
            self.deadlines.set(node_id, forget_at);
            self.touch(node_id);
            self.refresh(node_id, None);
        }
    }

    /// The node was heard: it has a full timeout from now.
    pub(crate) fn credit(&mut self, node_id: &NodeId) {
        if let Some(node) = self.nodes.get_mut(node_id) {
            node.observed.last_heard = self.now;
            let was_offline = std::mem::take(&mut node.observed.offline);
            let was_absent = node.observed.forget_at.take().is_some();
            self.deadlines.set(node_id, self.now + self.config.node_timeout);
            if was_offline || was_absent {
                self.touch(node_id);
            }
        }
    }

    pub(crate) fn forget(&mut self, node_id: &NodeId, reason: LeftReason) {
        self.deadlines.remove(node_id);
        self.touch(node_id);
        if self.nodes.remove(node_id).is_some() {
            self.revision += 1;
            self.deltas.push(Delta::Left {
                node_id: node_id.clone(),
                reason,
            });
        }
        self.orphan_intent(node_id);
        self.judge();
    }

    /// After any fact about the node changed: derives its status and spreads the news.
    ///
    /// `because` overrides the explanation of a status that has got better.
    pub(crate) fn refresh(&mut self, node_id: &NodeId, because: Option<&str>) {
        self.revision += 1;
        let Some(node) = self.nodes.get_mut(node_id) else {
            return;
        };
        let from = node.status;
        let to = node.derive_status(self.intents.get(node_id));
        if from == to {
            return;
        }
        node.status = to;
        let lost = matches!(to, NodeStatus::Unreachable | NodeStatus::Offline);
        match (lost, node.lost_at) {
            (true, None) => node.lost_at = Some(self.now),
            (false, Some(_)) => {
                node.lost_at = None;
                node.held = false;
            }
            _ => {}
        }
        let reason = match because {
            Some(because) if !lost => because.to_owned(),
            _ => node.explain(self.now),
        };
        self.deltas.push(Delta::StatusChanged {
            node_id: node_id.clone(),
            from,
            to,
            reason,
        });
        self.judge();
    }
}
