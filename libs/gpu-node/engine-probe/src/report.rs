//! Tells the operator what a probe changed.

use pool_registry::Change;
use pool_registry_types::{MAX_MODEL_NAME_BYTES, MAX_MODELS, PoolId, ReplicaId};

/// Logs each change once: a warning where somebody must act, with what to do.
pub fn report(pool_id: &PoolId, replica_id: &ReplicaId, changes: &[Change]) {
    for change in changes {
        match change {
            Change::NotReady { reason } => tracing::warn!(
                %pool_id, %replica_id, %reason,
                "Engine is not ready and gets no requests; look at its log, and restart it or remove its handoff"
            ),
            Change::ReadyAgain => tracing::info!(%pool_id, %replica_id, "Engine is ready again"),
            Change::FewerSlots { promised, has } => tracing::warn!(
                %pool_id, %replica_id, promised, has,
                "Engine has fewer slots than its handoff promises and gets no more requests than it has; \
                 start it with as many, or write `\"slots\": {has}`"
            ),
            Change::ModelsLeftOut { kept, left_out: 0 } => {
                tracing::info!(%pool_id, %replica_id, models = kept, "All models of the engine are offered");
            }
            Change::ModelsLeftOut { kept, left_out } => tracing::warn!(
                %pool_id, %replica_id, kept, left_out,
                "Engine lists models that are not offered: a replica has at most {MAX_MODELS}, with names of at most \
                 {MAX_MODEL_NAME_BYTES} bytes; name those to offer in its handoff"
            ),
            Change::SlotsAsPromised { promised } => {
                tracing::info!(%pool_id, %replica_id, promised, "Engine has as many slots as its handoff promises");
            }
        }
    }
}
