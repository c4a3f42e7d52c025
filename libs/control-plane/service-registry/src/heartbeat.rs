//! Heartbeats: the reports of nodes.

use std::{sync::Arc, time::Duration};

use pool_registry_types::{HeartbeatRequest, NodeId};

use crate::{
    Delta, Registry, RegistryError, ReportDigest,
    events::is_registered,
    node::{PoolsChange, ReportBasis},
    problems,
};

/// The effect of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatOutcome {
    /// It changed more than free slots and free memory.
    Changed,
    /// It changed at most free slots and free memory.
    Unchanged,
    /// It arrived after a newer one. Nothing changed, and it is no sign of life.
    Ignored,
}

/// The header of a heartbeat, and a digest of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatHeader {
    /// As in [`HeartbeatRequest::incarnation`].
    pub incarnation: Option<u64>,
    /// As in [`HeartbeatRequest::seq`].
    pub seq: Option<u64>,
    /// The digest of the rest.
    pub digest: ReportDigest,
}

impl Registry {
    /// Takes in the full state of a node.
    ///
    /// # Errors
    /// [`RegistryError::UnknownNode`] when this incarnation of the node has not registered,
    /// [`RegistryError::StaleIncarnation`] when a later one has.
    pub fn heartbeat(
        &mut self,
        node_id: &NodeId,
        request: HeartbeatRequest,
        now: Duration,
    ) -> Result<HeartbeatOutcome, RegistryError> {
        self.heartbeat_with_digest(node_id, request, None, now)
    }

    /// Takes in the full state of a node whose digest is known. If the next heartbeat has the same
    /// digest, [`repeated_heartbeat`](Self::repeated_heartbeat) is enough.
    ///
    /// # Errors
    /// As of [`heartbeat`](Self::heartbeat).
    pub fn heartbeat_with_digest(
        &mut self,
        node_id: &NodeId,
        request: HeartbeatRequest,
        digest: Option<ReportDigest>,
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
        let observed = &mut node.observed;
        let gpus_before = observed.gpus.as_deref();
        self.deltas.extend(problems::gpus(
            node_id,
            gpus_before,
            request.gpus.as_deref(),
        ));
        self.deltas.extend(problems::refused_handoffs(
            node_id,
            &observed.refused_handoffs,
            &request.refused_handoffs,
        ));
        observed.gpus = request.gpus.map(Arc::from);
        observed.refused_handoffs = request.refused_handoffs.into();
        node.observed.digest = digest;
        self.fleet.changed_pools(pools, node.observed.pools.len());
        let outcome = self.finish_heartbeat(node_id, request.incarnation, request.seq, differs);
        self.remove_routes(gone);
        Ok(outcome)
    }

    /// Takes in a heartbeat that repeats the last one. With another digest nothing changes, and
    /// `None` asks for the whole heartbeat.
    ///
    /// # Errors
    /// As of [`heartbeat`](Self::heartbeat).
    pub fn repeated_heartbeat(
        &mut self,
        node_id: &NodeId,
        header: &HeartbeatHeader,
        now: Duration,
    ) -> Result<Option<HeartbeatOutcome>, RegistryError> {
        self.advance(now);
        if self.require(node_id)?.observed.digest != Some(header.digest) {
            return Ok(None);
        }
        if self.is_late(node_id, header.incarnation, header.seq)? {
            return Ok(Some(HeartbeatOutcome::Ignored));
        }
        Ok(Some(self.finish_heartbeat(
            node_id,
            header.incarnation,
            header.seq,
            false,
        )))
    }

    /// Whether a heartbeat arrived after a newer one. Refuses one of another incarnation.
    fn is_late(
        &self,
        node_id: &NodeId,
        incarnation: Option<u64>,
        seq: Option<u64>,
    ) -> Result<bool, RegistryError> {
        let node = self.require(node_id)?;
        let known = node.identity.incarnation;
        is_registered(node_id, known, incarnation)?;
        // Without an incarnation on both sides, a late heartbeat looks like a restarted counter.
        let fenced = known.is_some() && incarnation.is_some();
        Ok(fenced && matches!((node.observed.seq, seq), (Some(last), Some(seq)) if seq <= last))
    }

    /// Finishes a heartbeat: counts the report, and notes that the node was heard.
    fn finish_heartbeat(
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
            changed |= observed.basis != ReportBasis::Reported;
            observed.basis = ReportBasis::Reported;
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
                self.dirty.insert(node_id.clone());
            }
        }
        self.mark_heard(node_id);
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
