//! What nodes, operators and probes say: the events of the registry.

use std::{sync::Arc, time::Duration};

use pool_registry_types::{
    HeartbeatRequest, NodeId, NodeStatus, PoolId, RegisterRequest,
    limits::{MAX_NODES, MAX_POOL_DRAINS},
};

use crate::{
    Delta, FORGET_AFTER, LeftReason, PROBES_TO_UNREACHABLE, Registry, RegistryError,
    intent::{Drain, Target},
    node::{Basis, Evidence, Node, Pool, check_address, differs},
};

/// What a registration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterOutcome {
    /// The node was not known.
    Joined,
    /// It is a new life of a known node, or has taken over the id of an offline one.
    Restarted,
    /// It was known, and says it again.
    Renewed,
}

/// What a heartbeat did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatOutcome {
    /// It changed more than free slots and free memory.
    Changed,
    /// It changed free slots or free memory at most.
    Unchanged,
    /// It came late, after a newer one: nothing changed, and the node was not heard.
    Ignored,
}

impl Registry {
    /// A node joins, or says anew who it is.
    ///
    /// A new life of a node has its pools shown as not ready until its first heartbeat; the same life keeps what it
    /// last reported.
    ///
    /// # Errors
    /// [`RegistryError::NodeIdConflict`] when another machine has the id and is not offline,
    /// [`RegistryError::StaleIncarnation`] when a later life has registered, [`RegistryError::AddressTooLong`],
    /// [`RegistryError::TooManyNodes`].
    pub fn register(
        &mut self,
        request: RegisterRequest,
        now: Duration,
    ) -> Result<RegisterOutcome, RegistryError> {
        self.advance(now);
        check_address(&request)?;
        let node_id = request.node_id.clone();
        let outcome = match self.nodes.get_mut(&node_id) {
            None => {
                let node = Node::new(&request, self.now)?;
                self.make_room(&node_id)?;
                self.nodes.insert(node_id.clone(), node);
                RegisterOutcome::Joined
            }
            Some(known) => {
                let same_machine = known.identity.machine_id == request.machine_id;
                if same_machine {
                    fence(&node_id, known.identity.incarnation, request.incarnation)?;
                } else if known.status != NodeStatus::Offline {
                    return Err(RegistryError::NodeIdConflict {
                        node_id,
                        holder: known.identity.machine_id.clone(),
                    });
                }
                if same_machine && known.identity.incarnation == request.incarnation {
                    let from = known.identity.address.clone();
                    known.renew(&request)?;
                    if from != request.address {
                        self.deltas.push(Delta::Moved {
                            node_id: node_id.clone(),
                            from,
                            to: request.address.clone(),
                        });
                    }
                    RegisterOutcome::Renewed
                } else {
                    known.begin_life(&request)?;
                    RegisterOutcome::Restarted
                }
            }
        };
        self.credit(&node_id);
        self.adopt_intent(&node_id);
        self.touch(&node_id);
        let RegisterRequest {
            machine_id,
            address,
            incarnation,
            ..
        } = request;
        match outcome {
            RegisterOutcome::Joined => self.deltas.push(Delta::Joined {
                node_id: node_id.clone(),
                machine_id,
                address,
                incarnation,
            }),
            RegisterOutcome::Restarted => self.deltas.push(Delta::Restarted {
                node_id: node_id.clone(),
                machine_id,
                address,
                incarnation,
            }),
            RegisterOutcome::Renewed => {}
        }
        self.refresh(&node_id, Some("it registered"));
        Ok(outcome)
    }

    /// A node reports the full state of its pools.
    ///
    /// # Errors
    /// [`RegistryError::UnknownNode`] when the node or this life of it has not registered,
    /// [`RegistryError::StaleIncarnation`] when a later life has.
    pub fn heartbeat(
        &mut self,
        node_id: &NodeId,
        request: HeartbeatRequest,
        now: Duration,
    ) -> Result<HeartbeatOutcome, RegistryError> {
        self.advance(now);
        let node = self
            .nodes
            .get_mut(node_id)
            .ok_or_else(|| RegistryError::UnknownNode {
                node_id: node_id.clone(),
            })?;
        let known = node.identity.incarnation;
        is_registered(node_id, known, request.incarnation)?;
        // Without an incarnation on both sides nobody can tell a late heartbeat from a restarted counter.
        let fenced = known.is_some() && request.incarnation.is_some();
        if fenced
            && let (Some(last), Some(seq)) = (node.observed.seq, request.seq)
            && seq <= last
        {
            return Ok(HeartbeatOutcome::Ignored);
        }
        let pools = request
            .pools
            .into_iter()
            .map(|pool| Pool::new(node_id, &node.identity.address, Arc::new(pool)))
            .collect::<Result<Vec<_>, _>>()?;
        let changed = node.observed.basis != Basis::Reported || differs(&node.observed.pools, &pools);
        if changed {
            self.deltas.push(Delta::Changed {
                node_id: node_id.clone(),
                pools: pools.iter().map(|pool| pool.status.clone()).collect(),
            });
            self.touched.insert(node_id.clone());
        }
        if fenced {
            node.observed.seq = request.seq.or(node.observed.seq);
        }
        self.reports += 1;
        node.observed.report = self.reports;
        node.observed.basis = Basis::Reported;
        node.observed.pools = pools;
        node.observed.gpus = request.gpus.map(Arc::from);
        self.credit(node_id);
        self.refresh(node_id, Some("heartbeat received"));
        Ok(if changed {
            HeartbeatOutcome::Changed
        } else {
            HeartbeatOutcome::Unchanged
        })
    }

    /// A node leaves. It is forgotten, but for what operators want of it.
    ///
    /// `incarnation` is that of the life which leaves. Without one, whichever is registered is taken to leave: an operator
    /// means the node, and agents of version 0.1.0 do not say.
    ///
    /// # Errors
    /// [`RegistryError::UnknownNode`] when the node or this life of it has not registered,
    /// [`RegistryError::StaleIncarnation`] when a later life has.
    pub fn deregister(
        &mut self,
        node_id: &NodeId,
        incarnation: Option<u64>,
        now: Duration,
    ) -> Result<(), RegistryError> {
        self.advance(now);
        let node = self.require(node_id)?;
        is_registered(node_id, node.identity.incarnation, incarnation)?;
        self.forget(node_id, LeftReason::Deregistered);
        Ok(())
    }

    /// An operator wants that `target` takes no new work. Asking again replaces the deadline.
    ///
    /// # Errors
    /// [`RegistryError::UnknownNode`], [`RegistryError::UnknownPool`].
    pub fn drain(
        &mut self,
        target: &Target,
        deadline: Option<Duration>,
        now: Duration,
    ) -> Result<(), RegistryError> {
        let now = self.advance(now);
        self.require_target(target)?;
        let intent = self.intents.entry(target.node_id().clone()).or_default();
        let drain = |before: Option<Drain>| Drain {
            since: before.map_or(now, |before| before.since),
            deadline,
        };
        let before = match target {
            Target::Node(_) => intent.node.replace(drain(intent.node)),
            Target::Pool(_, pool) => intent
                .pools
                .insert(pool.clone(), drain(intent.pools.get(pool).copied())),
        };
        self.drop_spare_drains(target.node_id());
        self.tell_drain(target, before.is_none(), true);
        Ok(())
    }

    /// An operator takes [`drain`](Self::drain) back.
    ///
    /// A drain that the node itself reports goes on; a pool of a drained node stays drained with it.
    ///
    /// # Errors
    /// [`RegistryError::UnknownNode`], [`RegistryError::UnknownPool`].
    pub fn undrain(&mut self, target: &Target, now: Duration) -> Result<(), RegistryError> {
        self.advance(now);
        let Some(intent) = self.intents.get_mut(target.node_id()) else {
            return self.require_target(target);
        };
        let before = match target {
            Target::Node(_) => intent.node.take(),
            Target::Pool(_, pool) => intent.pools.remove(pool),
        };
        if intent.is_empty() {
            self.intents.remove(target.node_id());
        }
        if before.is_none() {
            return self.require_target(target);
        }
        self.tell_drain(target, true, false);
        Ok(())
    }

    /// Keeps the drains of a node within their bound. It has no more pools than that, so there is always one of a pool that
    /// it does not have.
    fn drop_spare_drains(&mut self, node_id: &NodeId) {
        let (Some(node), Some(intent)) = (self.nodes.get(node_id), self.intents.get_mut(node_id)) else {
            return;
        };
        let has = |pool: &PoolId| node.observed.pools.iter().any(|has| has.status.pool_id == *pool);
        while intent.pools.len() > MAX_POOL_DRAINS {
            let spare = intent.pools.iter().filter(|(pool, _)| !has(pool));
            let Some((pool_id, _)) = spare.min_by_key(|(_, drain)| drain.since) else {
                return;
            };
            let pool_id = pool_id.clone();
            intent.pools.remove(&pool_id);
            self.deltas.push(Delta::DrainDropped {
                node_id: node_id.clone(),
                pool_id,
            });
        }
    }

    fn tell_drain(&mut self, target: &Target, news: bool, draining: bool) {
        if news {
            self.deltas.push(Delta::DrainChanged {
                target: target.clone(),
                draining,
            });
        }
        self.touch(target.node_id());
        let because = if draining {
            "an operator drains it"
        } else {
            "an operator undrained it"
        };
        self.refresh(target.node_id(), Some(because));
    }

    /// Somebody tried to reach the node: `Err` says how that failed.
    ///
    /// `incarnation` is the one the node had when the probe began; a result about an earlier life changes nothing.
    pub fn probe(
        &mut self,
        node_id: &NodeId,
        incarnation: Option<u64>,
        result: Result<(), String>,
        now: Duration,
    ) {
        self.advance(now);
        let Some(node) = self.nodes.get_mut(node_id) else {
            return;
        };
        if node.identity.incarnation != incarnation {
            return;
        }
        match result {
            Ok(()) => {
                let restored = node.observed.basis == Basis::Remembered;
                if node.evidence.failed_probes == 0 && !restored {
                    return;
                }
                node.evidence = Evidence::default();
                if restored {
                    node.observed.basis = Basis::Confirmed;
                }
                self.refresh(node_id, Some("it answers probes again"));
            }
            Err(error) => {
                let evidence = &mut node.evidence;
                let same_again = evidence.unreachable() && evidence.error.as_deref() == Some(&*error);
                if !same_again {
                    evidence.failed_probes = (evidence.failed_probes + 1).min(PROBES_TO_UNREACHABLE);
                    evidence.error = Some(Arc::from(error));
                    self.refresh(node_id, None);
                }
            }
        }
    }

    /// Sees to it that a node which was not known can be taken up: when as many are known as may be, the one that has been
    /// offline for longest is forgotten, unless an operator drains it.
    fn make_room(&mut self, node_id: &NodeId) -> Result<(), RegistryError> {
        // A node that has left and is still drained counts already.
        if self.intents.contains_key(node_id) || self.known_nodes() < MAX_NODES {
            return Ok(());
        }
        let spare = self.nodes.iter().filter(|(id, node)| {
            node.status == NodeStatus::Offline && !node.held && !self.intents.contains_key(*id)
        });
        let longest = spare.min_by_key(|(_, node)| node.observed.last_heard);
        let Some(gone) = longest.map(|(id, _)| id.clone()) else {
            return Err(RegistryError::TooManyNodes {
                node_id: node_id.clone(),
            });
        };
        self.forget(&gone, LeftReason::Displaced);
        Ok(())
    }

    /// How many nodes a store has to keep: those that are known, and those that have left and are drained.
    fn known_nodes(&self) -> usize {
        let left = self.intents.keys().filter(|id| !self.nodes.contains_key(*id));
        self.nodes.len() + left.count()
    }

    fn require(&self, node_id: &NodeId) -> Result<&Node, RegistryError> {
        self.nodes.get(node_id).ok_or_else(|| RegistryError::UnknownNode {
            node_id: node_id.clone(),
        })
    }

    fn require_target(&self, target: &Target) -> Result<(), RegistryError> {
        let node = self.require(target.node_id())?;
        match target {
            Target::Pool(node_id, pool_id)
                if node
                    .observed
                    .pools
                    .iter()
                    .all(|pool| pool.status.pool_id != *pool_id) =>
            {
                Err(RegistryError::UnknownPool {
                    node_id: node_id.clone(),
                    pool_id: pool_id.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    /// The node is known again: what operators want of it holds on.
    pub(crate) fn adopt_intent(&mut self, node_id: &NodeId) {
        self.drop_old_intents();
        if let Some(intent) = self.intents.get_mut(node_id) {
            intent.forget_at = None;
        }
    }

    /// The node is no longer known: what operators want of it is kept as long as an offline node is, because an
    /// agent that restarts leaves and joins again.
    pub(crate) fn orphan_intent(&mut self, node_id: &NodeId) {
        let forget_at = self.now + FORGET_AFTER;
        if let Some(intent) = self.intents.get_mut(node_id) {
            intent.forget_at = Some(forget_at);
        }
        self.drop_old_intents();
    }

    fn drop_old_intents(&mut self) {
        let now = self.now;
        self.intents.retain(|node_id, intent| {
            let kept = intent.forget_at.is_none_or(|at| now < at);
            if !kept {
                self.touched.insert(node_id.clone());
            }
            kept
        });
    }
}

/// Refuses a message of any life but the registered one: of an earlier one, and of a later one that has not registered
/// yet, or whose registration another machine's has replaced.
fn is_registered(node_id: &NodeId, known: Option<u64>, got: Option<u64>) -> Result<(), RegistryError> {
    fence(node_id, known, got)?;
    match (known, got) {
        (Some(known), Some(got)) if got > known => Err(RegistryError::UnknownNode {
            node_id: node_id.clone(),
        }),
        _ => Ok(()),
    }
}

/// Refuses a message of an earlier life. Without an incarnation on both sides there is nothing to compare.
fn fence(node_id: &NodeId, known: Option<u64>, got: Option<u64>) -> Result<(), RegistryError> {
    match (known, got) {
        (Some(known), Some(got)) if got < known => Err(RegistryError::StaleIncarnation {
            node_id: node_id.clone(),
            known,
            got,
        }),
        _ => Ok(()),
    }
}
