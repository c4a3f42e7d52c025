//! Separates the lasting parts of a report from those that change with every request.

use pool_registry_types::{EngineLoad, PoolStatus, ReplicaStatus};

use crate::pool::Pool;

/// Whether two reports differ in more than free slots, free memory and engine load.
pub(crate) fn differs(before: &[Pool], after: &[Pool]) -> bool {
    before.len() != after.len()
        || before
            .iter()
            .zip(after)
            .any(|(before, after)| !same_lasting_parts(&before.status, &after.status))
}

fn same_lasting_parts(before: &PoolStatus, after: &PoolStatus) -> bool {
    let PoolStatus {
        pool_id,
        ready,
        draining,
        slots_free: _,
        slots_total,
        vram_free_bytes: _,
        engine,
        engine_version,
        models_available,
        replicas,
        last_error,
        device_mask,
        sleeping,
    } = before;
    let same_replicas = match (replicas, &after.replicas) {
        (Some(before), Some(after)) => {
            before.len() == after.len()
                && before
                    .iter()
                    .zip(after)
                    .all(|(before, after)| same_lasting_replica(before, after))
        }
        (before, after) => before.is_none() && after.is_none(),
    };
    same_replicas
        && *pool_id == after.pool_id
        && (*ready, *draining, *slots_total, *sleeping)
            == (
                after.ready,
                after.draining,
                after.slots_total,
                after.sleeping,
            )
        && (engine, engine_version, models_available)
            == (
                &after.engine,
                &after.engine_version,
                &after.models_available,
            )
        && (last_error, device_mask) == (&after.last_error, &after.device_mask)
}

fn same_lasting_replica(before: &ReplicaStatus, after: &ReplicaStatus) -> bool {
    let ReplicaStatus {
        replica_id,
        ready,
        slots_free: _,
        slots_total,
        slots_promised,
        models,
        last_error,
        draining,
        generation,
        load: _,
    } = before;
    *replica_id == after.replica_id
        && (*ready, *draining, *slots_total) == (after.ready, after.draining, after.slots_total)
        && (*slots_promised, *generation) == (after.slots_promised, after.generation)
        && (models, last_error) == (&after.models, &after.last_error)
}

/// The lasting part of a report: all slots are free.
pub(crate) fn all_free(status: &PoolStatus) -> PoolStatus {
    let mut status = status.clone();
    status.slots_free = status.slots_total;
    status.vram_free_bytes = 0;
    for replica in status.replicas.iter_mut().flatten() {
        replica.slots_free = replica.slots_total;
        replica.load = EngineLoad::default();
    }
    status
}
