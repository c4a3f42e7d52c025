//! Separates the lasting parts of a report from those that change with every request.

use pool_registry_types::{EngineLoad, PoolStatus, Slots};

use crate::pool::Pool;

/// Whether two reports differ in more than free slots, free memory and engine load.
pub(crate) fn differs(before: &[Pool], after: &[Pool]) -> bool {
    before.len() != after.len()
        || before
            .iter()
            .zip(after)
            .any(|(before, after)| !before.status.eq_except_load(&after.status))
}

/// The lasting part of a report: all slots are free.
pub(crate) fn all_free(status: &PoolStatus) -> PoolStatus {
    let mut status = status.clone();
    let total = status.slots_total();
    status.set_slots(Slots::clamped(total, total));
    status.vram_free_bytes = 0;
    for replica in status.replicas.iter_mut().flatten() {
        let total = replica.slots_total();
        replica.set_slots(Slots::clamped(total, total));
        replica.load = EngineLoad::default();
    }
    status
}
