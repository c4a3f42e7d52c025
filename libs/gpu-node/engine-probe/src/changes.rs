//! Logs what a probe changed.

use pool_registry::ReplicaChange;
use pool_registry_types::{MAX_MODEL_NAME_BYTES, MAX_MODELS, PoolId, ReplicaId};

/// Logs each change once. A change that needs action is a warning that says what to do.
pub fn log_changes(pool_id: &PoolId, replica_id: &ReplicaId, changes: &[ReplicaChange]) {
    for change in changes {
        match change {
            ReplicaChange::NotReady { reason } => tracing::warn!(
                %pool_id, %replica_id, %reason,
                "Engine is not ready and gets no requests; read its log, then restart it or remove \
                 its handoff"
            ),
            ReplicaChange::NotVerified { reason } => tracing::warn!(
                %pool_id, %replica_id, %reason,
                "Engine does not answer as announced, and gets no requests until it does; start \
                 it, or remove its handoff"
            ),
            ReplicaChange::Verified => tracing::info!(
                %pool_id, %replica_id,
                "Engine answers as announced, and gets requests from now on"
            ),
            ReplicaChange::ReadyAgain => {
                tracing::info!(%pool_id, %replica_id, "Engine is ready again");
            }
            ReplicaChange::FewerSlots { announced, actual } => tracing::warn!(
                %pool_id, %replica_id, announced, actual,
                "Engine has fewer slots than its handoff announces, and gets no more requests than \
                 it has slots; start it with as many, or write `\"slots\": {actual}`"
            ),
            ReplicaChange::ModelsLeftOut { kept, left_out: 0 } => {
                tracing::info!(
                    %pool_id, %replica_id, models = kept, "All models of the engine are offered"
                );
            }
            ReplicaChange::ModelsLeftOut { kept, left_out } => tracing::warn!(
                %pool_id, %replica_id, kept, left_out,
                "Engine lists models that are not offered: a replica has at most {MAX_MODELS}, \
                 with names of at most {MAX_MODEL_NAME_BYTES} bytes; name those to offer in its \
                 handoff"
            ),
            ReplicaChange::SlotsAsAnnounced { announced } => {
                tracing::info!(
                    %pool_id, %replica_id, announced,
                    "Engine has as many slots as its handoff announces"
                );
            }
        }
    }
}
