//! The registry's state, its clock, and how a change spreads: status, deltas, suspicion, endpoints.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use pool_registry_types::{NodeId, NodeStatus, limits::MAX_NODES};
use routing_table::RouteChange;

use crate::{
    Config, Delta, FORGET_AFTER, FleetSummary, LeftReason, PULSE, Pace, STALL,
    deadlines::Deadlines,
    intent::Intent,
    node::{Gone, Node},
    pace::PacedFor,
    suspicion::Trust,
};

/// Which nodes are online. See the crate's documentation.
///
/// Time never goes back in it: an event with an earlier `now` than the one before counts as
/// simultaneous with it.
///
/// ```
/// use std::time::Duration;
/// use pool_registry_types::{HttpUrl, MachineId, NodeId, NodeStatus, RegisterRequest};
/// use service_registry::{Config, Registry};
///
/// let second = Duration::from_secs;
/// let node = NodeId::new("gpu-node-1")?;
/// let mut registry = Registry::new(Config::default());
/// let mut request = RegisterRequest::new(
///     node.clone(),
///     MachineId::new("machine-alpha")?,
///     HttpUrl::new("http://192.168.1.100:9200")?,
/// );
/// request.incarnation = Some(1);
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
    pub(crate) most_nodes: usize,
    pub(crate) now: Duration,
    /// Boxed: a map keeps room for more entries than it has.
    pub(crate) nodes: BTreeMap<NodeId, Box<Node>>,
    pub(crate) fleet: FleetSummary,
    pub(crate) paced_for: PacedFor,
    pub(crate) intents: BTreeMap<NodeId, Intent>,
    /// Nodes that have left and are drained, by when that is forgotten.
    pub(crate) orphans: BTreeSet<(Duration, NodeId)>,
    /// Offline nodes that may be forgotten for others, by when they were last heard.
    pub(crate) spare: BTreeSet<(Duration, NodeId)>,
    pub(crate) deadlines: Deadlines,
    pub(crate) trust: Trust,
    /// Nodes that were lost within the window, or since this process suspects itself, by when that
    /// was.
    pub(crate) lost: BTreeSet<(Duration, NodeId)>,
    /// Counts reports over all nodes and starts, so that no endpoint ever shows the same number
    /// twice.
    pub(crate) reports: u64,
    pub(crate) revision: u64,
    pub(crate) deltas: Vec<Delta>,
    pub(crate) routes: Vec<RouteChange>,
    /// Nodes of which a store has something else than what is known now.
    pub(crate) touched: BTreeSet<NodeId>,
    /// Nodes that are to be probed in another way than before.
    pub(crate) targets: BTreeSet<NodeId>,
}

impl Registry {
    /// An empty registry, which knows up to [`MAX_NODES`] nodes.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::bounded(config, MAX_NODES)
    }

    /// An empty registry, which knows up to `most_nodes`, counting those that are offline, and
    /// those that have left and are drained.
    #[must_use]
    pub fn bounded(config: Config, most_nodes: usize) -> Self {
        Self {
            config,
            most_nodes,
            now: Duration::ZERO,
            nodes: BTreeMap::new(),
            fleet: FleetSummary::default(),
            paced_for: PacedFor::default(),
            intents: BTreeMap::new(),
            orphans: BTreeSet::new(),
            spare: BTreeSet::new(),
            deadlines: Deadlines::default(),
            trust: Trust::Full,
            lost: BTreeSet::new(),
            reports: 0,
            revision: 0,
            deltas: Vec::new(),
            routes: Vec::new(),
            touched: BTreeSet::new(),
            targets: BTreeSet::new(),
        }
    }

    /// What it was built with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How often nodes should report now, and how long they may be silent.
    #[must_use]
    pub fn pace(&self) -> Pace {
        Pace::of(&self.config, self.paced_for.nodes())
    }

    /// The fleet in numbers.
    #[must_use]
    pub fn summary(&self) -> FleetSummary {
        FleetSummary {
            self_suspicion: matches!(self.trust, Trust::Suspicious { .. }),
            ..self.fleet
        }
    }

    /// Lets time pass: nodes whose deadline has come go offline.
    pub fn tick(&mut self, now: Duration) {
        self.advance(now);
    }

    /// When [`tick`](Self::tick) must be called at the latest; `None` while nothing can become due.
    ///
    /// It is never later than the exact deadline of the node that is next to go offline or be
    /// forgotten, nor than a [`PULSE`] from now when a node is alive.
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

    /// What changed of endpoints since the last call, in the order it happened. It takes the place
    /// of what is in `changes`, whose memory is used again.
    pub fn take_routes(&mut self, changes: &mut Vec<RouteChange>) {
        changes.clear();
        std::mem::swap(changes, &mut self.routes);
    }

    /// Rises whenever a reader would see a change.
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
        self.fleet.nodes() > self.fleet.offline
    }

    /// Every event begins here: what was due before it happens before it. Returns the time of the
    /// event.
    pub(crate) fn advance(&mut self, now: Duration) -> Duration {
        let now = now.max(self.now);
        let gap = now - self.now;
        self.now = now;
        if gap > STALL && self.any_alive() {
            self.give_back(gap);
        }
        while let Some(node_id) = self.deadlines.pop_due(now) {
            self.look_at(&node_id);
        }
        if self.trust.ends().is_some_and(|end| end <= now) {
            self.end_holds();
        }
        self.drop_old_intents();
        now
    }

    /// This process did not run for `gap`, so nobody could have been heard: nobody's time ran.
    fn give_back(&mut self, gap: Duration) {
        for node in self
            .nodes
            .values_mut()
            .filter(|node| !node.observed.offline)
        {
            node.allowance.since = node.allowance.since.saturating_add(gap);
            // A probe under way timed out because we slept.
            if !node.evidence.unreachable() {
                node.evidence.failed_probes = 0;
            }
        }
        self.deltas.push(Delta::Stalled { gap });
    }

    /// The node's entry among the deadlines has come up: it goes offline, or if it is, it is
    /// forgotten; or it has been heard since, and is looked at later.
    fn look_at(&mut self, node_id: &NodeId) {
        let timeout = self.pace().timeout;
        let Some(node) = self.nodes.get_mut(node_id) else {
            return;
        };
        node.allowance.armed = None;
        let due = node.due(timeout);
        if due > self.now {
            self.deadlines.arm(node_id, &mut node.allowance.armed, due);
        } else if node.observed.offline {
            self.forget(node_id, LeftReason::Forgotten);
        } else {
            let forget_at = node.observed.forget_at.unwrap_or(self.now + FORGET_AFTER);
            node.observed.offline = true;
            node.observed.forget_at = Some(forget_at);
            self.deadlines
                .arm(node_id, &mut node.allowance.armed, forget_at);
            self.touch(node_id);
            self.targets.insert(node_id.clone());
            self.refresh(node_id, None);
        }
    }

    /// The node was heard: it has a full timeout from now.
    pub(crate) fn credit(&mut self, node_id: &NodeId) {
        let told = self.pace().timeout;
        let Some(node) = self.nodes.get_mut(node_id) else {
            return;
        };
        if node.observed.offline {
            self.spare
                .remove(&(node.observed.last_heard, node_id.clone()));
        }
        node.observed.last_heard = self.now;
        let allowance = &mut node.allowance;
        allowance.since = self.now;
        // The answer that told a longer one may have been the last that arrived.
        allowance.granted = told.max(allowance.told);
        allowance.told = told;
        let was_offline = std::mem::take(&mut node.observed.offline);
        let was_absent = node.observed.forget_at.take().is_some();
        let due = node.due(told);
        self.deadlines.arm(node_id, &mut node.allowance.armed, due);
        if was_offline {
            self.targets.insert(node_id.clone());
        }
        if was_offline || was_absent {
            self.touch(node_id);
        }
    }

    /// Takes up a node that was not known.
    pub(crate) fn insert(&mut self, node_id: &NodeId, node: Node) {
        self.fleet.joined(node.status, node.observed.pools.len());
        self.nodes.insert(node_id.clone(), Box::new(node));
        self.paced_for.update(self.nodes.len());
        self.targets.insert(node_id.clone());
    }

    pub(crate) fn forget(&mut self, node_id: &NodeId, reason: LeftReason) {
        self.touch(node_id);
        if let Some(node) = self.nodes.remove(node_id) {
            self.deadlines.disarm(node_id, node.allowance.armed);
            self.fleet.left(node.status, node.observed.pools.len());
            self.paced_for.update(self.nodes.len());
            self.spare
                .remove(&(node.observed.last_heard, node_id.clone()));
            if let Some(at) = node.lost_at {
                self.lost.remove(&(at, node_id.clone()));
            }
            self.targets.insert(node_id.clone());
            self.remove_routes(
                node.observed
                    .pools
                    .into_iter()
                    .flat_map(|pool| pool.into_endpoints())
                    .collect(),
            );
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
        if from != to {
            node.status = to;
            self.fleet.moved(from, to);
            let is_lost = matches!(to, NodeStatus::Unreachable | NodeStatus::Offline);
            match (is_lost, node.lost_at) {
                (true, None) => {
                    node.lost_at = Some(self.now);
                    self.lost.insert((self.now, node_id.clone()));
                }
                (false, Some(at)) => {
                    node.lost_at = None;
                    node.held = false;
                    self.lost.remove(&(at, node_id.clone()));
                }
                _ => {}
            }
            let reason = match because {
                Some(because) if !is_lost => because.to_owned(),
                _ => node.explain(self.now),
            };
            self.deltas.push(Delta::StatusChanged {
                node_id: node_id.clone(),
                from,
                to,
                reason,
            });
            self.hold_if_suspicious(node_id);
            self.judge();
            self.review_spare(node_id);
        }
        self.route(node_id);
    }

    /// Tells the data path what is new of the node's endpoints.
    pub(crate) fn route(&mut self, node_id: &NodeId) {
        if let Some(node) = self.nodes.get_mut(node_id) {
            node.tell(self.intents.get(node_id), &mut self.routes);
        }
    }

    /// After what has come in their place, so that no model is without an endpoint in between.
    pub(crate) fn remove_routes(&mut self, gone: Gone) {
        self.routes
            .extend(gone.into_iter().map(RouteChange::Remove));
    }

    /// The node may be forgotten for another one, or not any more.
    pub(crate) fn review_spare(&mut self, node_id: &NodeId) {
        let Some(node) = self.nodes.get(node_id) else {
            return;
        };
        let entry = (node.observed.last_heard, node_id.clone());
        if node.status == NodeStatus::Offline && !node.held && !self.intents.contains_key(node_id) {
            self.spare.insert(entry);
        } else {
            self.spare.remove(&entry);
        }
    }
}
