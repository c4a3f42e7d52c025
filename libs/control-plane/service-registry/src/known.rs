//! What outlives this process: which nodes there are, what they last reported, and what operators want.

use std::time::Duration;

use pool_registry_types::{Capabilities, PoolId, PoolStatus, RegisterRequest};

use crate::{
    Registry,
    intent::{Drain, Intent},
    node::{Basis, Node, Pool, check_address},
};

/// A node as a store keeps it. Times are relative, because the next process has another origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownNode {
    /// Its last registration.
    pub registration: RegisterRequest,
    /// What it last reported; empty when that is not kept.
    pub pools: Vec<PoolStatus>,
    /// An operator drains it.
    pub drain: Option<KnownDrain>,
    /// An operator drains these of its pools.
    pub pool_drains: Vec<(PoolId, KnownDrain)>,
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
            deadline: self.left.map(|left| now + left),
        }
    }
}

impl Registry {
    /// This process began anew and knows these nodes from before.
    ///
    /// None of them is offline before a full timeout. Their pools are routable once the node answers a probe or
    /// reports. A node that has registered already is left alone, and so is one whose address cannot be used.
    pub fn restore(&mut self, known: Vec<KnownNode>, now: Duration) {
        let now = self.advance(now);
        for known in known {
            let node_id = known.registration.node_id.clone();
            if self.nodes.contains_key(&node_id) || check_address(&known.registration).is_err() {
                continue;
            }
            let Some(node) = remembered(&known, now) else {
                continue;
            };
            let intent = Intent {
                node: known.drain.map(|drain| drain.from(now)),
                pools: known
                    .pool_drains
                    .into_iter()
                    .map(|(pool, drain)| (pool, drain.from(now)))
                    .collect(),
                orphaned: None,
            };
            if !intent.is_empty() {
                self.intents.insert(node_id.clone(), intent);
            }
            self.nodes.insert(node_id.clone(), node);
            self.credit(&node_id);
            self.refresh(&node_id, Some("known from before"));
        }
    }

    /// Everything worth keeping for the next process.
    #[must_use]
    pub fn known(&self) -> Vec<KnownNode> {
        self.nodes
            .iter()
            .map(|(node_id, node)| {
                let intent = self.intents.get(node_id);
                let identity = &node.identity;
                KnownNode {
                    registration: RegisterRequest {
                        node_id: node_id.clone(),
                        machine_id: identity.machine_id.clone(),
                        address: identity.address.clone(),
                        pools: node
                            .observed
                            .pools
                            .iter()
                            .map(|pool| pool.status.pool_id.clone())
                            .collect(),
                        capabilities: Capabilities::clone(&identity.capabilities),
                        version: identity.version.as_deref().map(str::to_owned),
                        incarnation: identity.incarnation,
                    },
                    pools: node
                        .observed
                        .pools
                        .iter()
                        .map(|pool| PoolStatus::clone(&pool.status))
                        .collect(),
                    drain: intent
                        .and_then(|intent| intent.node)
                        .map(|drain| KnownDrain::of(drain, self.now)),
                    pool_drains: intent
                        .iter()
                        .flat_map(|intent| &intent.pools)
                        .map(|(pool, drain)| (pool.clone(), KnownDrain::of(*drain, self.now)))
                        .collect(),
                }
            })
            .collect()
    }
}

fn remembered(known: &KnownNode, now: Duration) -> Option<Node> {
    let request = &known.registration;
    let mut node = Node::new(request, now).ok()?;
    if !known.pools.is_empty() {
        node.observed.pools = known
            .pools
            .iter()
            .map(|pool| Pool::new(&request.node_id, &request.address, pool.clone().into()).ok())
            .collect::<Option<_>>()?;
        node.observed.basis = Basis::Remembered;
    }
    Some(node)
}
