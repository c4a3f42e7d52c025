//! What nodes report of their pools.

use std::{sync::Arc, time::Duration};

use pool_registry_types::{HeartbeatRequest, NodeId};

use crate::{
    Delta, Digest, Registry, RegistryError,
    events::is_registered,
    node::{Basis, PoolsChange},
};

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

/// A heartbeat without what it says of pools and GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeat {
    /// As in [`HeartbeatRequest::incarnation`].
    pub incarnation: Option<u64>,
    /// As in [`HeartbeatRequest::seq`].
    pub seq: Option<u64>,
    /// Of what it says of pools and GPUs.
    pub digest: Digest,
}

impl Registry {
    /// A node reports the full state of its pools.
    ///
    /// # Errors
    /// [`RegistryError::UnknownNode`] when the node or this start of it has not registered,
    /// [`RegistryError::StaleIncarnation`] when a later start has.
    pub fn heartbeat(
        &mut self,
        node_id: &NodeId,
        request: HeartbeatRequest,
        now: Duration,
    ) -> Result<HeartbeatOutcome, RegistryError> {
        self.report(node_id, request, None, now)
    }

    /// The same, where `digest` is that of what the request says of pools and GPUs. The next one
    /// that says the same need not be taken apart: see [`repeat`](Self::repeat).
    ///
    /// # Errors
    /// As of [`heartbeat`](Self::heartbeat).
    pub fn report(
        &mut self,
        node_id: &NodeId,
        request: HeartbeatRequest,
        digest: Option<Digest>,
        now: Duration,
    ) -> Result<HeartbeatOutcome, RegistryError> {
        self.advance(now);
        if self.is_late(node_id, request.incarnation, request.seq)? {
            return Ok(HeartbeatOutcome::Ignored);
        }
        let Some(node) = self.nodes.get_mut(node_id) else {
            return Err(unknown(node_id));
        };
        let pools = node.observed.pools.len();
        let PoolsChange { gone, differs } =
            node.set_pools(node_id, request.pools.into_iter().map(Arc::new), false)?;
        node.observed.gpus = request.gpus.map(Arc::from);
        node.observed.digest = digest;
        self.fleet.changed_pools(pools, node.observed.pools.len());
        let outcome = self.heard(node_id, request.incarnation, request.seq, differs);
        self.remove_routes(gone);
        Ok(outcome)
    }

    /// A node reports. When that is what it reported last, it is taken in; otherwise nothing
    /// happens, and `None` says that the whole report is needed.
    ///
    /// # Errors
    /// As of [`heartbeat`](Self::heartbeat).
    pub fn repeat(
        &mut self,
        node_id: &NodeId,
        repeat: &Repeat,
        now: Duration,
    ) -> Result<Option<HeartbeatOutcome>, RegistryError> {
        self.advance(now);
        if self.require(node_id)?.observed.digest != Some(repeat.digest) {
            return Ok(None);
        }
        if self.is_late(node_id, repeat.incarnation, repeat.seq)? {
            return Ok(Some(HeartbeatOutcome::Ignored));
        }
        Ok(Some(self.heard(
            node_id,
            repeat.incarnation,
            repeat.seq,
            false,
        )))
    }

    /// Whether a heartbeat came after a newer one. Refuses one of another start of the node.
    fn is_late(
        &self,
        node_id: &NodeId,
        incarnation: Option<u64>,
        seq: Option<u64>,
    ) -> Result<bool, RegistryError> {
        let node = self.require(node_id)?;
        let known = node.identity.incarnation;
        is_registered(node_id, known, incarnation)?;
        // Without an incarnation on both sides nobody can tell a late heartbeat from a restarted
        // counter.
        let fenced = known.is_some() && incarnation.is_some();
        Ok(fenced && matches!((node.observed.seq, seq), (Some(last), Some(seq)) if seq <= last))
    }

    /// The report is taken in: it counts, and the node was heard.
    fn heard(
        &mut self,
        node_id: &NodeId,
        incarnation: Option<u64>,
        seq: Option<u64>,
        differs: bool,
    ) -> HeartbeatOutcome {
        self.reports += 1;
        let mut changed = differs;
        if let Some(node) = self.nodes.get_mut(node_id) {
            let observed = &mut node.observed;
            if node.identity.incarnation.is_some() && incarnation.is_some() {
                observed.seq = seq.or(observed.seq);
            }
            changed |= observed.basis != Basis::Reported;
            observed.basis = Basis::Reported;
            observed.report = self.reports;
            if changed {
                self.deltas.push(Delta::Changed {
                    node_id: node_id.clone(),
                    pools: observed
                        .pools
                        .iter()
                        .map(|pool| Arc::clone(&pool.status))
                        .collect(),
                });
                self.touched.insert(node_id.clone());
            }
        }
        self.credit(node_id);
        self.refresh(node_id, Some("heartbeat received"));
        if changed {
            HeartbeatOutcome::Changed
        } else {
            HeartbeatOutcome::Unchanged
        }
    }
}

fn unknown(node_id: &NodeId) -> RegistryError {
    RegistryError::UnknownNode {
        node_id: node_id.clone(),
    }
}
