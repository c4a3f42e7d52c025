//! All GPUs at one moment.

use pool_registry_types::{GpuStatus, MAX_GPUS};

use crate::{mask, problem::GpuError, reading::GpuReading};

/// All GPUs at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// The GPUs, in index order.
    pub gpus: Vec<GpuReading>,
    /// Why the list or its figures may be incomplete or outdated.
    pub problem: Option<GpuError>,
}

impl Snapshot {
    /// The status of the GPUs in a heartbeat, at most as many as it may carry.
    #[must_use]
    pub fn statuses(&self) -> Vec<GpuStatus> {
        let gpus = self.gpus.iter().take(MAX_GPUS);
        gpus.map(GpuReading::to_status).collect()
    }

    /// Free memory in bytes of the devices that `mask` names, and the names that match no device.
    ///
    /// A mask is a list separated by commas, without regard to case or blanks. `GPU0`, `0` and
    /// `cuda:0` name a GPU by its index; `GPU-…` and `MIG-…` name a GPU or an instance by a prefix
    /// of its UUID; `all`, or no mask, means every GPU; `none`, `cpu` and an empty mask mean no
    /// GPU. A device that is named twice counts once; unknown free memory counts as 0.
    #[must_use]
    pub fn vram_free_for<'m>(&self, mask: Option<&'m str>) -> (u64, Vec<&'m str>) {
        mask::free(&self.gpus, mask)
    }

    /// The same, but `None` when it is not known: there is no GPU, one does not report its free
    /// memory, or the figures may be outdated.
    #[must_use]
    pub fn known_vram_free_for(&self, mask: Option<&str>) -> Option<u64> {
        let known = |gpu: &GpuReading| gpu.vram_free_bytes.is_some();
        let is_known =
            self.problem.is_none() && !self.gpus.is_empty() && self.gpus.iter().all(known);
        is_known.then(|| self.vram_free_for(mask).0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn known_free_memory_requires_all_figures() {
        let gpu = |index: u32, free: Option<u64>| GpuReading {
            index,
            vram_free_bytes: free,
            ..GpuReading::default()
        };
        let snapshot = |gpus| Snapshot {
            gpus,
            problem: None,
        };
        let known = snapshot(vec![gpu(0, Some(5)), gpu(1, Some(7))]);
        assert_eq!(known.known_vram_free_for(None), Some(12));
        assert_eq!(known.known_vram_free_for(Some("GPU1")), Some(7));
        assert_eq!(snapshot(Vec::new()).known_vram_free_for(None), None);
        let unknown = snapshot(vec![gpu(0, Some(5)), gpu(1, None)]);
        assert_eq!(unknown.known_vram_free_for(None), None);
        let late = Snapshot {
            problem: Some(GpuError::Late(Duration::from_secs(1))),
            ..known
        };
        assert_eq!(late.known_vram_free_for(None), None);
    }
}
