//! What nodes and probes say: the events of the registry, but for the reports of nodes and the
//! drains of operators.

use std::{sync::Arc, time::Duration};

use pool_registry_types::{HttpUrl, NodeId, NodeStatus, RegisterRequest};

use crate::{
    Delta, LeftReason, PROBES_TO_UNREACHABLE, Registry, RegistryError,
    node::{Basis, Evidence, Node},
    pool::check_address,
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

impl Registry {
    /// A node joins, or says anew who it is.
    ///
    /// A new life of a node has its pools shown as not ready until its first heartbeat; the same
    /// life keeps what it last reported.
    ///
    /// # Errors
    /// [`RegistryError::NodeIdConflict`] when another machine has the id and is not offline,
    /// [`RegistryError::StaleIncarnation`] when a later life has registered,
    /// [`RegistryError::AddressTooLong`], [`RegistryError::TooManyNodes`].
    pub fn register(
        &mut self,
        request: RegisterRequest,
        now: Duration,
    ) -> Result<RegisterOutcome, RegistryError> {
        self.advance(now);
        let node_id = request.node_id.clone();
        check_address(&node_id, &request.address)?;
        let mut gone = Vec::new();
        let outcome = match self.nodes.get_mut(&node_id) {
            None => {
                let node = Node::new(&request, self.now)?;
                self.make_room(&node_id)?;
                self.insert(&node_id, node);
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
                let pools = known.observed.pools.len();
                let from = Arc::clone(&known.identity.address);
                let is_same = same_machine && known.identity.incarnation == request.incarnation;
                gone = if is_same {
                    known.renew(&request)?
                } else {
                    known.restart(&request)?
                };
                self.fleet.changed_pools(pools, known.observed.pools.len());
                let has_moved = *from != request.address;
                if has_moved || !is_same {
                    self.targets.insert(node_id.clone());
                }
                if is_same && has_moved {
                    self.deltas.push(Delta::Moved {
                        node_id: node_id.clone(),
                        from: HttpUrl::clone(&from),
                        to: request.address.clone(),
                    });
                }
                if is_same {
                    RegisterOutcome::Renewed
                } else {
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
        self.remove_routes(gone);
        Ok(outcome)
    }

    /// A node leaves. It is forgotten, but for what operators want of it.
    ///
    /// `incarnation` is that of the life which leaves. Without one, whichever is registered is
    /// taken to leave: an operator means the node, and agents of version 0.1.0 do not say.
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

    /// Somebody tried to reach the node: `Err` says how that failed.
    ///
    /// `incarnation` is the one the node had when the probe began; a result about an earlier life
    /// changes nothing.
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
                let same_again =
                    evidence.unreachable() && evidence.error.as_deref() == Some(&*error);
                if !same_again {
                    evidence.failed_probes =
                        (evidence.failed_probes + 1).min(PROBES_TO_UNREACHABLE);
                    evidence.error = Some(Arc::from(error));
                    self.refresh(node_id, None);
                }
            }
        }
    }

    /// Sees to it that a node which was not known can be taken up: when as many are known as may
    /// be, the one that has been offline for longest is forgotten, unless an operator drains
    /// it.
    fn make_room(&mut self, node_id: &NodeId) -> Result<(), RegistryError> {
        // A node that has left and is still drained counts already.
        if self.intents.contains_key(node_id)
            || self.nodes.len() + self.orphans.len() < self.most_nodes
        {
            return Ok(());
        }
        let Some((_, longest)) = self.spare.first().cloned() else {
            return Err(RegistryError::TooManyNodes {
                node_id: node_id.clone(),
                most: self.most_nodes,
            });
        };
        self.forget(&longest, LeftReason::Displaced);
        Ok(())
    }
}

/// Refuses a message of any life but the registered one: of an earlier one, and of a later one that
/// has not registered yet, or whose registration another machine's has replaced.
pub(crate) fn is_registered(
    node_id: &NodeId,
    known: Option<u64>,
    got: Option<u64>,
) -> Result<(), RegistryError> {
    fence(node_id, known, got)?;
    match (known, got) {
        (Some(known), Some(got)) if got > known => Err(RegistryError::UnknownNode {
            node_id: node_id.clone(),
        }),
        _ => Ok(()),
    }
}

/// Refuses a message of an earlier life. Without an incarnation on both sides there is nothing to
/// compare.
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
