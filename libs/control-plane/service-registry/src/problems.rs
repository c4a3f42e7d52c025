//! Problems that nodes report for people: refused handoffs and faults of GPUs.

use pool_registry_types::{GpuStatus, NodeId, RefusedHandoff};

use crate::Delta;

/// What changed between two reports of refused handoffs.
pub(crate) fn refused_handoffs(
    node_id: &NodeId,
    before: &[RefusedHandoff],
    after: &[RefusedHandoff],
) -> Vec<Delta> {
    let delta = |refused: &RefusedHandoff, reason| Delta::HandoffRefused {
        node_id: node_id.clone(),
        file: refused.file().to_owned(),
        reason,
    };
    let begun = after.iter().filter(|refused| !before.contains(refused));
    let is_gone = |file: &str| after.iter().all(|refused| refused.file() != file);
    let over = before.iter().filter(|refused| is_gone(refused.file()));
    begun
        .map(|refused| delta(refused, Some(refused.reason().to_owned())))
        .chain(over.map(|refused| delta(refused, None)))
        .collect()
}

/// What changed between two reports of GPUs. A report without GPUs says nothing about them.
pub(crate) fn gpus(
    node_id: &NodeId,
    before: Option<&[GpuStatus]>,
    after: Option<&[GpuStatus]>,
) -> Vec<Delta> {
    let Some(after) = after else {
        return Vec::new();
    };
    let before = before.unwrap_or_default();
    let problem_in = |gpus: &[GpuStatus], id: u32| {
        let gpu = gpus.iter().find(|gpu| gpu.device_id == id);
        gpu.and_then(|gpu| gpu.problem.clone())
    };
    let mut ids: Vec<u32> = before
        .iter()
        .chain(after)
        .map(|gpu| gpu.device_id)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let changed = ids.into_iter().filter_map(|device_id| {
        let problem = problem_in(after, device_id);
        (problem != problem_in(before, device_id)).then(|| Delta::GpuProblem {
            node_id: node_id.clone(),
            device_id,
            problem: problem.map(|problem| problem.to_string()),
        })
    });
    changed.collect()
}
