//! The state that outlives this process: nodes, their last reports, and drains.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use pool_registry_types::{
    Capabilities, HttpUrl, NodeId, PoolId, PoolStatus, RegisterRequest, limits::MAX_POOLS,
};

use crate::{
    FORGET_AFTER, Registry,
    intent::{Drain, Intent},
    node::{Node, ReportBasis},
    pool::{Pool, check_address, not_ready},
    report::all_free,
};

/// A node as a store keeps it. Times are relative, because the next process has another origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersistedNode {
    /// Its id.
    pub node_id: NodeId,
    /// Its registration and last report; `None` when it has left and only its drains are kept.
    pub registered: Option<PersistedRegistration>,
    /// The time until it is forgotten; `None` while it is alive.
    pub forget_in: Option<Duration>,
    /// Its drain.
    pub drain: Option<PersistedDrain>,
    /// The drains of its pools.
    pub pool_drains: Vec<(PoolId, PersistedDrain)>,
}

/// The registration and last report of a node, as a store keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersistedRegistration {
    /// Its last registration.
    pub registration: RegisterRequest,
    /// Its pools as last reported, with all slots free: an old count would keep requests away for
    /// nothing, and a full node refuses by itself.
    pub pools: Vec<PoolStatus>,
    /// Whether a successful probe is enough to use the pools. Otherwise the node must report
    /// first.
    pub reported: bool,
}

/// A drain as a store keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PersistedDrain {
    /// The time until its deadline, if it has one.
    pub time_left: Option<Duration>,
}

impl PersistedDrain {
    fn of(drain: Drain, now: Duration) -> Self {
        Self {
            time_left: drain.deadline.map(|deadline| deadline.saturating_sub(now)),
        }
    }

    fn from(self, now: Duration) -> Drain {
        Drain {
            since: now,
            deadline: self.time_left.map(|left| now.saturating_add(left)),
        }
    }
}

impl Registry {
    /// Restores the nodes of an earlier process.
    ///
    /// None of them goes offline before a full timeout. Their pools are routable once the node
    /// answers a probe or reports. Nodes that have registered meanwhile, that have an unusable
    /// address, or whose time to be forgotten has passed are not restored.
    pub fn restore(&mut self, nodes: Vec<PersistedNode>, now: Duration) {
        let now = self.advance(now);
        for known in nodes {
            if !self.nodes.contains_key(&known.node_id) {
                self.restore_one(known, now);
            }
        }
    }

    fn restore_one(&mut self, known: PersistedNode, now: Duration) {
        let node_id = known.node_id;
        // The result may differ from the store.
        self.mark_dirty(&node_id);
        if known.forget_in.is_some_and(|left| left.is_zero()) {
            return;
        }
        let forget_at = known.forget_in.map(|left| now.saturating_add(left));
        let registered = known.registered.as_ref();
        let node = registered.and_then(|registered| restored_node(registered, now));
        let intent = Intent {
            node: known.drain.map(|drain| drain.from(now)),
            pools: known
                .pool_drains
                .into_iter()
                .map(|(pool, drain)| (pool, drain.from(now)))
                .collect(),
            forget_at: node
                .is_none()
                .then_some(forget_at.unwrap_or(now.saturating_add(FORGET_AFTER))),
        };
        if !intent.is_empty() {
            if let Some(at) = intent.forget_at {
                self.orphans.insert((at, node_id.clone()));
            }
            self.intents.insert(node_id.clone(), intent);
        }
        let Some(node) = node else {
            return;
        };
        self.insert(&node_id, node);
        self.mark_heard(&node_id);
        if let Some(node) = self.nodes.get_mut(&node_id) {
            node.observed.forget_at = forget_at;
        }
        self.refresh(&node_id, Some("known from before"));
    }

    /// All nodes, for a store.
    #[must_use]
    pub fn persisted_nodes(&self) -> Vec<PersistedNode> {
        let ids: BTreeSet<&NodeId> = self.nodes.keys().chain(self.intents.keys()).collect();
        ids.into_iter()
            .filter_map(|id| self.persisted_node(id))
            .collect()
    }

    /// One node, for a store; `None` when the store should not have it.
    #[must_use]
    pub fn persisted_node(&self, node_id: &NodeId) -> Option<PersistedNode> {
        let node = self.nodes.get(node_id);
        let intent = self.intents.get(node_id);
        let forget_at = match (node, intent) {
            (None, None) => return None,
            (Some(node), _) => node.observed.forget_at,
            (None, Some(intent)) => intent.forget_at,
        };
        Some(PersistedNode {
            node_id: node_id.clone(),
            registered: node.map(|node| persisted_registration(node_id, node)),
            forget_in: forget_at.map(|at| at.saturating_sub(self.now)),
            drain: intent
                .and_then(|intent| intent.node)
                .map(|drain| PersistedDrain::of(drain, self.now)),
            pool_drains: intent
                .iter()
                .flat_map(|intent| &intent.pools)
                .map(|(pool, drain)| (pool.clone(), PersistedDrain::of(*drain, self.now)))
                .collect(),
        })
    }

    /// Takes the nodes whose [`persisted_node`](Self::persisted_node) may have changed since they
    /// were last taken.
    ///
    /// A heartbeat that changes only free slots and free memory makes no node dirty, so a quiet
    /// fleet writes nothing.
    #[must_use]
    pub fn take_dirty(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.dirty)
    }

    /// Takes one dirty node.
    pub fn pop_dirty(&mut self) -> Option<NodeId> {
        self.dirty.pop_first()
    }

    /// Whether any node is dirty.
    #[must_use]
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(crate) fn mark_dirty(&mut self, node_id: &NodeId) {
        self.dirty.insert(node_id.clone());
    }
}

fn persisted_registration(node_id: &NodeId, node: &Node) -> PersistedRegistration {
    let Node {
        identity, observed, ..
    } = node;
    // This process does not use the pools of an absent node either.
    let reported = observed.basis != ReportBasis::Awaited && (!observed.offline || node.held);
    let kept = |pool: &Pool| {
        if reported {
            all_free(&pool.status)
        } else {
            not_ready(&pool.status)
        }
    };
    let mut registration = RegisterRequest::new(
        node_id.clone(),
        identity.machine_id.clone(),
        HttpUrl::clone(&identity.address),
    );
    registration.pools = observed
        .pools
        .iter()
        .map(|pool| pool.status.pool_id.clone())
        .collect();
    registration.capabilities = Capabilities::clone(&identity.capabilities);
    registration.version = identity.version.clone();
    registration.incarnation = identity.incarnation;
    registration.boot_id = identity.boot_id.clone();
    registration.metrics_address = identity.metrics_address.as_deref().cloned();
    registration.takes_replica_hint = identity.takes_replica_hint;
    PersistedRegistration {
        registration,
        pools: observed.pools.iter().map(kept).collect(),
        reported,
    }
}

fn restored_node(registered: &PersistedRegistration, now: Duration) -> Option<Node> {
    let request = &registered.registration;
    check_address(&request.node_id, &request.address).ok()?;
    let mut node = Node::new(request, now).ok()?;
    if !registered.pools.is_empty() {
        let pools = registered
            .pools
            .iter()
            .take(MAX_POOLS)
            .cloned()
            .map(Arc::new);
        node.set_pools(&request.node_id, pools, false).ok()?;
    }
    if registered.reported {
        node.observed.basis = ReportBasis::Remembered;
    }
    Some(node)
}
