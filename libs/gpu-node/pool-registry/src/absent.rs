//! Replicas that should have an engine and have none, with the reason from the provisioner.

use std::sync::Arc;

use pool_registry_types::{
    ErrorText, MAX_POOLS, MAX_REPLICAS, PoolId, ReplicaId, ReplicaStatus, lines,
};

use crate::core::{RegistryCore, ReportUrgency};

/// The longest reason that is kept, in bytes: what happened, and the last lines of an engine's
/// stderr.
const MAX_REASON_BYTES: usize = 3 * 1024;

impl RegistryCore {
    pub(crate) fn set_absent(
        &mut self,
        pool_id: &PoolId,
        replica_id: &ReplicaId,
        reason: Option<String>,
    ) -> ReportUrgency {
        let Some(reason) = reason else {
            let pool = self.pools.get_mut(pool_id);
            let was_absent = pool.is_some_and(|pool| pool.absent.remove(replica_id).is_some());
            self.forget_if_empty(pool_id);
            return was_absent.into();
        };
        if !self.pools.contains_key(pool_id) && self.pools.len() >= MAX_POOLS {
            return ReportUrgency::None;
        }
        let absent = &mut self.pools.entry(pool_id.clone()).or_default().absent;
        if absent.len() >= MAX_REPLICAS && !absent.contains_key(replica_id) {
            return ReportUrgency::None;
        }
        // Keep line breaks: the reason ends with lines of an engine's log.
        let reason: Arc<str> = lines(&reason, MAX_REASON_BYTES).into();
        let before = absent.insert(replica_id.clone(), reason.clone());
        (before != Some(reason)).into()
    }
}

/// The status of an absent replica in a heartbeat.
pub(crate) fn status(replica_id: &ReplicaId, reason: &Arc<str>, draining: bool) -> ReplicaStatus {
    let mut replica = ReplicaStatus::new(replica_id.clone());
    replica.last_error = Some(ErrorText::cut(reason));
    replica.draining = draining;
    replica
}
