//! What outlives this process: which nodes there are, what they last reported, and what operators
//! want.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use pool_registry_types::{
    Capabilities, HttpUrl, NodeId, PoolId, PoolStatus, RegisterRequest, limits::MAX_POOLS,
};

use crate::{
    FORGET_AFTER, Registry,
    intent::{Drain, Intent},
    node::{Basis, Node},
    pool::{Pool, check_address, not_ready},
    report::all_free,
};

/// What a store keeps of a node. Times are relative, because the next process has another origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownNode {
    /// Which node.
    pub node_id: NodeId,
    /// Who it is and what it has; `None` when it has left and only what operators want of it is
    /// known.
    pub life: Option<KnownLife>,
    /// In how much time it is forgotten; `None` while it is alive.
    pub forget_in: Option<Duration>,
    /// An operator drains it.
    pub drain: Option<KnownDrain>,
    /// An operator drains these of its pools.
    pub pool_drains: Vec<(PoolId, KnownDrain)>,
}

/// Who a node is and what it has, as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownLife {
    /// Its last registration.
    pub registration: RegisterRequest,
    /// Its pools as last reported, without what changes with every request: all slots count as
    /// free, because a count that is old keeps requests away for nothing, and a node that is
    /// full says so itself.
    pub pools: Vec<PoolStatus>,
    /// A sign of life is enough to believe the pools. Otherwise the node must report before it is
    /// given requests.
    pub reported: bool,
}

/// A drain as a store keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownDrain {
    /// How much time is left until its deadline, if it has one.
    pub left: Option<Duration>,
}

impl KnownDrain {
    fn of(drain: Drain, now: Duration) -> Self {
        Self {
            left: drain.deadline.map(|deadline| deadline.saturating_sub(now)),
        }
    }

    fn from(self, now: Duration) -> Drain {
        Drain {
            since: now,
            deadline: self.left.map(|left| now.saturating_add(left)),
        }
    }
}

impl Registry {
    /// This process began anew and knows these nodes from before.
    ///
    /// None of them is offline before a full timeout. Their pools are routable once the node
    /// answers a probe or reports. A node that has registered already is left alone, and so is
    /// one whose address cannot be used. One whose time to be forgotten has come is not taken
    /// up.
    pub fn restore(&mut self, known: Vec<KnownNode>, now: Duration) {
        let now = self.advance(now);
        for known in known {
            if !self.nodes.contains_key(&known.node_id) {
                self.restore_one(known, now);
            }
        }
    }

    fn restore_one(&mut self, known: KnownNode, now: Duration) {
        let node_id = known.node_id;
        // Whatever comes of it may differ from what the store has.
        self.touch(&node_id);
        if known.forget_in.is_some_and(|left| left.is_zero()) {
            return;
        }
        let forget_at = known.forget_in.map(|left| now.saturating_add(left));
        let node = known.life.as_ref().and_then(|life| remembered(life, now));
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
        self.credit(&node_id);
        if let Some(node) = self.nodes.get_mut(&node_id) {
            node.observed.forget_at = forget_at;
        }
        self.refresh(&node_id, Some("known from before"));
    }

    /// Everything worth keeping for the next process.
    #[must_use]
    pub fn known(&self) -> Vec<KnownNode> {
        let ids: BTreeSet<&NodeId> = self.nodes.keys().chain(self.intents.keys()).collect();
        ids.into_iter()
            .filter_map(|id| self.known_node(id))
            .collect()
    }

    /// What is worth keeping of one node; `None` when a store should have nothing of it.
    #[must_use]
    pub fn known_node(&self, node_id: &NodeId) -> Option<KnownNode> {
        let node = self.nodes.get(node_id);
        let intent = self.intents.get(node_id);
        let forget_at = match (node, intent) {
            (None, None) => return None,
            (Some(node), _) => node.observed.forget_at,
            (None, Some(intent)) => intent.forget_at,
        };
        Some(KnownNode {
            node_id: node_id.clone(),
            life: node.map(|node| life(node_id, node)),
            forget_in: forget_at.map(|at| at.saturating_sub(self.now)),
            drain: intent
                .and_then(|intent| intent.node)
                .map(|drain| KnownDrain::of(drain, self.now)),
            pool_drains: intent
                .iter()
                .flat_map(|intent| &intent.pools)
                .map(|(pool, drain)| (pool.clone(), KnownDrain::of(*drain, self.now)))
                .collect(),
        })
    }

    /// The nodes of which [`known_node`](Self::known_node) may say something else than when they
    /// were last taken.
    ///
    /// A heartbeat that changes free slots and free memory only is no reason, so a quiet fleet
    /// writes nothing.
    #[must_use]
    pub fn take_touched(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.touched)
    }

    /// One of those, taken out.
    pub fn pop_touched(&mut self) -> Option<NodeId> {
        self.touched.pop_first()
    }

    /// Whether there is any of those.
    #[must_use]
    pub fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    pub(crate) fn touch(&mut self, node_id: &NodeId) {
        self.touched.insert(node_id.clone());
    }
}

fn life(node_id: &NodeId, node: &Node) -> KnownLife {
    let Node {
        identity, observed, ..
    } = node;
    // Of an absent node this process would not believe it either.
    let reported = observed.basis != Basis::Awaited && (!observed.offline || node.held);
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
    registration.version = identity.version.as_deref().map(str::to_owned);
    registration.incarnation = identity.incarnation;
    registration.metrics_address = identity.metrics_address.as_deref().cloned();
    registration.takes_replica_hint = identity.takes_replica_hint;
    KnownLife {
        registration,
        pools: observed.pools.iter().map(kept).collect(),
        reported,
    }
}

fn remembered(life: &KnownLife, now: Duration) -> Option<Node> {
    let request = &life.registration;
    check_address(&request.node_id, &request.address).ok()?;
    let mut node = Node::new(request, now).ok()?;
    if !life.pools.is_empty() {
        let pools = life.pools.iter().take(MAX_POOLS).cloned().map(Arc::new);
        node.set_pools(&request.node_id, pools, false).ok()?;
    }
    if life.reported {
        node.observed.basis = Basis::Remembered;
    }
    Some(node)
}
