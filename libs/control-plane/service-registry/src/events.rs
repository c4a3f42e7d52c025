//! Registrations, deregistrations and probes. Heartbeats and drains have files of their own.

use std::{sync::Arc, time::Duration};

use pool_registry_types::{HttpUrl, NodeId, NodeStatus, RegisterRequest};

use crate::{
    Delta, LeftReason, PROBES_TO_UNREACHABLE, Registry, RegistryError,
    node::{Evidence, Node, ReportBasis},
    pool::check_address,
    view::ProbeTarget,
};

/// The answer to the question whether a node still runs at its registered address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderAnswer {
    /// The node that was asked.
    pub asked: ProbeTarget,
    /// Whether this incarnation of the node answered.
    pub is_alive: bool,
}

/// The effect of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterOutcome {
    /// The node was unknown.
    Joined,
    /// A new incarnation of a known node, or another machine with the id of an offline one.
    Restarted,
    /// A known incarnation registered again.
    Renewed,
}

impl Registry {
    /// The node to ask before a registration, because another start of a machine has its id: the
    /// machine has restarted, or two machines have the same name. `None` when there is nothing to
    /// ask. The answer is for [`register_after_asking`](Self::register_after_asking).
    #[must_use]
    pub fn holder_to_ask(&self, request: &RegisterRequest) -> Option<ProbeTarget> {
        let known = self.nodes.get(&request.node_id)?;
        let is_doubtful =
            known.status != NodeStatus::Offline && known.identity.is_other_boot(request);
        is_doubtful.then(|| self.target(&request.node_id)).flatten()
    }

    /// Registers a node after its holder was asked; see [`register`](Self::register).
    ///
    /// A holder that is alive keeps the id. One that is not loses it at once, whatever its machine
    /// and incarnation. An answer about another node than the registered one does not count.
    ///
    /// # Errors
    /// [`RegistryError::HolderAnswers`], and those of [`register`](Self::register).
    pub fn register_after_asking(
        &mut self,
        request: RegisterRequest,
        holder: &HolderAnswer,
        now: Duration,
    ) -> Result<RegisterOutcome, RegistryError> {
        self.advance(now);
        if self.holder_to_ask(&request).as_ref() != Some(&holder.asked) {
            return self.register(request, now);
        }
        if holder.is_alive {
            return Err(RegistryError::HolderAnswers {
                address: HttpUrl::clone(&holder.asked.address),
                node_id: request.node_id,
            });
        }
        self.register_over(request, true)
    }

    /// Registers a node.
    ///
    /// The pools of a new incarnation are not ready until its first heartbeat. The same incarnation
    /// keeps its last report.
    ///
    /// # Errors
    /// [`RegistryError::NodeIdConflict`] when another machine has the id and is not offline,
    /// [`RegistryError::StaleIncarnation`] when a later incarnation has registered,
    /// [`RegistryError::AddressTooLong`], [`RegistryError::TooManyNodes`].
    pub fn register(
        &mut self,
        request: RegisterRequest,
        now: Duration,
    ) -> Result<RegisterOutcome, RegistryError> {
        self.advance(now);
        self.register_over(request, false)
    }

    /// Registers a node. A holder that is known to be `gone` has no claim to the id.
    fn register_over(
        &mut self,
        request: RegisterRequest,
        is_holder_gone: bool,
    ) -> Result<RegisterOutcome, RegistryError> {
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
                let same_machine =
                    !is_holder_gone && known.identity.machine_id == request.machine_id;
                if is_holder_gone {
                    // Incarnations of two starts of a machine cannot be compared.
                } else if same_machine {
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
        self.mark_heard(&node_id);
        self.adopt_intent(&node_id);
        self.mark_dirty(&node_id);
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

    /// Removes a node. Its drains are kept for a day.
    ///
    /// With `incarnation` only that incarnation is removed. Without one any is: an operator means
    /// the node, and agents of version 0.1.0 send none.
    ///
    /// # Errors
    /// [`RegistryError::UnknownNode`] when this incarnation of the node has not registered,
    /// [`RegistryError::StaleIncarnation`] when a later one has.
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

    /// Takes in the result of a probe; `Err` holds the reason of a failure.
    ///
    /// `incarnation` is that of the node when the probe began. A result for an earlier incarnation
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
                let restored = node.observed.basis == ReportBasis::Remembered;
                if node.evidence.failed_probes == 0 && !restored {
                    return;
                }
                node.evidence = Evidence::default();
                if restored {
                    node.observed.basis = ReportBasis::Confirmed;
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

    /// Makes room for a new node. When the registry is full, it forgets the node that has been
    /// offline longest and is not drained.
    fn make_room(&mut self, node_id: &NodeId) -> Result<(), RegistryError> {
        // A drained node that has left counts already.
        if self.intents.contains_key(node_id)
            || self.nodes.len() + self.orphans.len() < self.most_nodes
        {
            return Ok(());
        }
        let Some((_, longest)) = self.evictable.first().cloned() else {
            return Err(RegistryError::TooManyNodes {
                node_id: node_id.clone(),
                most: self.most_nodes,
            });
        };
        self.forget(&longest, LeftReason::Displaced);
        Ok(())
    }
}

/// Refuses a message of any incarnation but the registered one. A later one has not registered yet,
/// or another machine has replaced its registration.
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

/// Refuses a message of an earlier incarnation. It cannot compare when one side has none.
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
