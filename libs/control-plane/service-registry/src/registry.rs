//! The state of the registry, its clock, and the consequences of a change: status, deltas,
//! suspicion, routes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use pool_registry_types::{NodeId, NodeStatus, limits::MAX_NODES};
use routing_table::RouteChange;

use crate::{
    Config, Delta, FORGET_AFTER, FleetSummary, LeftReason, Pace, STALL_THRESHOLD, TICK_INTERVAL,
    deadlines::Deadlines,
    intent::Intent,
    node::{Node, RemovedEndpoints},
    pace::PacedFor,
    suspicion::Suspicion,
};

/// The state of all nodes. See the documentation of the crate.
///
/// Its time never goes back: an event with an earlier `now` than the last one counts as
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
/// let request = RegisterRequest {
///     node_id: node.clone(),
///     machine_id: MachineId::new("machine-alpha")?,
///     address: HttpUrl::new("http://192.168.1.100:9200")?,
///     pools: vec![],
///     capabilities: Default::default(),
///     version: None,
///     incarnation: Some(1),
///     metrics_address: None,
///     takes_replica_hint: true,
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
    pub(crate) most_nodes: usize,
    pub(crate) now: Duration,
    /// Boxed, because a map reserves space for more entries than it has.
    pub(crate) nodes: BTreeMap<NodeId, Box<Node>>,
    pub(crate) fleet: FleetSummary,
    pub(crate) paced_for: PacedFor,
    pub(crate) intents: BTreeMap<NodeId, Intent>,
    /// Drained nodes that have left, by the time when their drains are forgotten.
    pub(crate) orphans: BTreeSet<(Duration, NodeId)>,
    /// Offline nodes that may be forgotten for others, by the time of their last message.
    pub(crate) evictable: BTreeSet<(Duration, NodeId)>,
    pub(crate) deadlines: Deadlines,
    pub(crate) suspicion: Suspicion,
    /// Nodes that were lost within the window, or since self-suspicion began, by the time of the
    /// loss.
    pub(crate) lost: BTreeSet<(Duration, NodeId)>,
    /// Counts the reports of all nodes and incarnations, so that no endpoint gets a number twice.
    pub(crate) reports: u64,
    pub(crate) revision: u64,
    pub(crate) deltas: Vec<Delta>,
    pub(crate) routes: Vec<RouteChange>,
    /// Nodes that differ from the store.
    pub(crate) dirty: BTreeSet<NodeId>,
    /// Nodes whose probe target has changed.
    pub(crate) targets: BTreeSet<NodeId>,
}

impl Registry {
    /// An empty registry for up to [`MAX_NODES`] nodes.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::bounded(config, MAX_NODES)
    }

    /// An empty registry for up to `most_nodes` nodes. Offline nodes count, and so do drained nodes
    /// that have left.
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
            evictable: BTreeSet::new(),
            deadlines: Deadlines::default(),
            suspicion: Suspicion::None,
            lost: BTreeSet::new(),
            reports: 0,
            revision: 0,
            deltas: Vec::new(),
            routes: Vec::new(),
            dirty: BTreeSet::new(),
            targets: BTreeSet::new(),
        }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The current interval of heartbeats, and the current timeout.
    #[must_use]
    pub fn pace(&self) -> Pace {
        Pace::of(&self.config, self.paced_for.nodes())
    }

    /// The numbers of nodes and pools.
    #[must_use]
    pub fn summary(&self) -> FleetSummary {
        FleetSummary {
            self_suspicion: matches!(self.suspicion, Suspicion::Holding { .. }),
            ..self.fleet
        }
    }

    /// Advances the clock: nodes whose deadline has passed go offline.
    pub fn tick(&mut self, now: Duration) {
        self.advance(now);
    }

    /// The latest time for the next [`tick`](Self::tick); `None` while nothing can become due.
    ///
    /// It is not later than the exact deadline of the next node that goes offline or is forgotten,
    /// and, when a node is alive, not later than one [`TICK_INTERVAL`] from now.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let tick = self.any_alive().then(|| self.now + TICK_INTERVAL);
        [self.deadlines.first(), self.suspicion.ends(), tick]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes the deltas since the last call, in order.
    #[must_use]
    pub fn take_deltas(&mut self) -> Vec<Delta> {
        std::mem::take(&mut self.deltas)
    }

    /// Takes the route changes since the last call, in order. They replace the content of
    /// `changes`, whose memory is reused.
    pub fn take_routes(&mut self, changes: &mut Vec<RouteChange>) {
        changes.clear();
        std::mem::swap(changes, &mut self.routes);
    }

    /// A number that rises with every change that readers see.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The status of a node; `None` when it is unknown.
    #[must_use]
    pub fn status(&self, node_id: &NodeId) -> Option<NodeStatus> {
        self.nodes.get(node_id).map(|node| node.status)
    }

    fn any_alive(&self) -> bool {
        self.fleet.nodes() > self.fleet.offline
    }

    /// Applies everything that was due before an event. Every event begins here. Returns the time
    /// of the event.
    pub(crate) fn advance(&mut self, now: Duration) -> Duration {
        let now = now.max(self.now);
        let gap = now - self.now;
        self.now = now;
        if gap > STALL_THRESHOLD && self.any_alive() {
            self.shift_deadlines(gap);
        }
        while let Some(node_id) = self.deadlines.pop_due(now) {
            self.on_deadline(&node_id);
        }
        if self.suspicion.ends().is_some_and(|end| end <= now) {
            self.end_holds();
        }
        self.drop_old_intents();
        now
    }

    /// Moves all deadlines by `gap`: this process did not run, so it could hear no node.
    fn shift_deadlines(&mut self, gap: Duration) {
        for node in self
            .nodes
            .values_mut()
            .filter(|node| !node.observed.offline)
        {
            node.allowance.since = node.allowance.since.saturating_add(gap);
            // A running probe timed out because this process did not run.
            if !node.evidence.unreachable() {
                node.evidence.failed_probes = 0;
            }
        }
        self.deltas.push(Delta::Stalled { gap });
    }

    /// The entry of a node among the deadlines is due. The node goes offline, or is forgotten when
    /// it is offline. If it was heard since the entry was made, the entry moves.
    fn on_deadline(&mut self, node_id: &NodeId) {
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
            self.mark_dirty(node_id);
            self.targets.insert(node_id.clone());
            self.refresh(node_id, None);
        }
    }

    /// Notes that the node was heard: it has a full timeout from now.
    pub(crate) fn mark_heard(&mut self, node_id: &NodeId) {
        let timeout = self.pace().timeout;
        let Some(node) = self.nodes.get_mut(node_id) else {
            return;
        };
        if node.observed.offline {
            self.evictable
                .remove(&(node.observed.last_heard, node_id.clone()));
        }
        node.observed.last_heard = self.now;
        let allowance = &mut node.allowance;
        allowance.since = self.now;
        // The node may have got no answer since one with a longer timeout.
        allowance.granted = timeout.max(allowance.announced);
        allowance.announced = timeout;
        let was_offline = std::mem::take(&mut node.observed.offline);
        let was_absent = node.observed.forget_at.take().is_some();
        let due = node.due(timeout);
        self.deadlines.arm(node_id, &mut node.allowance.armed, due);
        if was_offline {
            self.targets.insert(node_id.clone());
        }
        if was_offline || was_absent {
            self.mark_dirty(node_id);
        }
    }

    /// Adds a node that was unknown.
    pub(crate) fn insert(&mut self, node_id: &NodeId, node: Node) {
        self.fleet.joined(node.status, node.observed.pools.len());
        self.nodes.insert(node_id.clone(), Box::new(node));
        self.paced_for.update(self.nodes.len());
        self.targets.insert(node_id.clone());
    }

    pub(crate) fn forget(&mut self, node_id: &NodeId, reason: LeftReason) {
        self.mark_dirty(node_id);
        if let Some(node) = self.nodes.remove(node_id) {
            self.deadlines.disarm(node_id, node.allowance.armed);
            self.fleet.left(node.status, node.observed.pools.len());
            self.paced_for.update(self.nodes.len());
            self.evictable
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
        self.update_suspicion();
    }

    /// Derives the status of a node after a change of any of its facts, and publishes the change.
    ///
    /// `because` is the reason for a status that has improved.
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
            self.update_suspicion();
            self.update_evictable(node_id);
        }
        self.route(node_id);
    }

    /// Publishes the changed routes of a node.
    pub(crate) fn route(&mut self, node_id: &NodeId) {
        if let Some(node) = self.nodes.get_mut(node_id) {
            node.publish_routes(self.intents.get(node_id), &mut self.routes);
        }
    }

    /// Removes routes after their replacements are published, so that no model is without an
    /// endpoint in between.
    pub(crate) fn remove_routes(&mut self, gone: RemovedEndpoints) {
        self.routes
            .extend(gone.into_iter().map(RouteChange::Remove));
    }

    /// Updates whether the node may be forgotten for another one.
    pub(crate) fn update_evictable(&mut self, node_id: &NodeId) {
        let Some(node) = self.nodes.get(node_id) else {
            return;
        };
        let entry = (node.observed.last_heard, node_id.clone());
        if node.status == NodeStatus::Offline && !node.held && !self.intents.contains_key(node_id) {
            self.evictable.insert(entry);
        } else {
            self.evictable.remove(&entry);
        }
    }
}
