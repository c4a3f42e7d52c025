//! What was read of the GPUs at one moment.

use pool_registry_types::{
    Gpu, GpuStatus, MAX_GPUS, MAX_TEXT_BYTES, limits::MAX_ERROR_BYTES, one_line,
};
use serde::Deserialize;

use crate::{GpuError, GpuProblem, mask};

/// One GPU as its driver described it. What the driver would not tell is `None`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuReading {
    /// Its index on this machine.
    pub index: u32,
    /// The vendor's name for it.
    pub name: String,
    /// Names it for good, also after its index changed.
    pub uuid: Option<String>,
    /// Its memory in bytes.
    pub vram_total_bytes: Option<u64>,
    /// Memory in use in bytes.
    pub vram_used_bytes: Option<u64>,
    /// Free memory in bytes.
    pub vram_free_bytes: Option<u64>,
    /// CUDA compute capability, for example `8.6`.
    pub compute_capability: Option<String>,
    /// The version of its driver.
    pub driver_version: Option<String>,
    /// How busy it was, in percent.
    pub utilization_percent: Option<u32>,
    /// Its temperature in degrees Celsius.
    pub temperature_celsius: Option<u32>,
    /// What it draws, in milliwatts.
    pub power_milliwatts: Option<u32>,
    /// Its instances, where it is divided by MIG.
    #[serde(default)]
    pub mig: Vec<MigReading>,
    /// What is wrong with it.
    #[serde(skip)]
    pub problems: Vec<GpuProblem>,
}

impl GpuReading {
    /// It answers.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.problems.contains(&GpuProblem::Lost)
    }

    /// It as a registration describes it; a total that nobody knows is 0.
    #[must_use]
    pub fn to_wire(&self) -> Gpu {
        let mut gpu = Gpu::new(
            self.index,
            text(&self.name),
            self.vram_total_bytes.unwrap_or(0),
        );
        gpu.compute_capability = self.compute_capability.as_deref().map(text);
        gpu
    }

    /// It as a heartbeat describes it: also when it does not answer any more.
    #[must_use]
    pub fn to_status(&self) -> GpuStatus {
        let problems: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        let mut gpu = GpuStatus::new(self.index, text(&self.name));
        gpu.uuid = self.uuid.as_deref().map(text);
        gpu.driver_version = self.driver_version.as_deref().map(text);
        gpu.compute_capability = self.compute_capability.as_deref().map(text);
        gpu.vram_total_bytes = self.vram_total_bytes;
        gpu.vram_used_bytes = self.vram_used_bytes;
        gpu.vram_free_bytes = self.vram_free_bytes;
        gpu.utilization_percent = self.utilization_percent;
        gpu.temperature_celsius = self.temperature_celsius;
        gpu.power_watts = self
            .power_milliwatts
            .map(|power| (power.saturating_add(500)) / 1000);
        gpu.problem =
            (!problems.is_empty()).then(|| one_line(&problems.join("; "), MAX_ERROR_BYTES));
        gpu
    }
}

/// The words of a driver as a message carries them.
fn text(words: &str) -> String {
    one_line(words, MAX_TEXT_BYTES)
}

/// One MIG instance of a GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigReading {
    /// Its name, `MIG-…`.
    pub uuid: String,
    /// Its memory in bytes.
    pub vram_total_bytes: Option<u64>,
    /// Free memory in bytes.
    pub vram_free_bytes: Option<u64>,
}

/// All GPUs at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// The GPUs, in index order.
    pub gpus: Vec<GpuReading>,
    /// Why there may be more than these, or newer figures.
    pub problem: Option<GpuError>,
}

impl Snapshot {
    /// The GPUs as a heartbeat describes them; no more than it may name.
    #[must_use]
    pub fn statuses(&self) -> Vec<GpuStatus> {
        let gpus = self.gpus.iter().take(MAX_GPUS);
        gpus.map(GpuReading::to_status).collect()
    }

    /// Free memory in bytes of the devices that `mask` names, and the names in it that fit no
    /// device.
    ///
    /// A mask is a list separated by commas, without regard to case or blanks. `GPU0`, `0` and
    /// `cuda:0` name a GPU by its index; `GPU-…` and `MIG-…` name one, or an instance of one,
    /// by its UUID or by enough of its beginning; `all`, or no mask at all, means every GPU;
    /// `none`, `cpu` and an empty mask mean no GPU. A device that is named twice counts once;
    /// one whose free memory nobody knows counts 0.
    #[must_use]
    pub fn vram_free_for<'m>(&self, mask: Option<&'m str>) -> (u64, Vec<&'m str>) {
        mask::free(&self.gpus, mask)
    }

    /// The same, but `None` when it is not known: there is no GPU, one does not say how much is
    /// free, or these figures may be old.
    #[must_use]
    pub fn vram_surely_free_for(&self, mask: Option<&str>) -> Option<u64> {
        let known = |gpu: &GpuReading| gpu.vram_free_bytes.is_some();
        let sure = self.problem.is_none() && !self.gpus.is_empty() && self.gpus.iter().all(known);
        sure.then(|| self.vram_free_for(mask).0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    // spec: WIRE-17
    #[test]
    fn what_a_driver_says_is_told_as_a_message_may_carry_it() {
        let odd = format!("RTX\u{1b}[31m{}", "x".repeat(500));
        let reading = GpuReading {
            name: odd.clone(),
            uuid: Some(odd.clone()),
            driver_version: Some(odd.clone()),
            compute_capability: Some(odd),
            ..GpuReading::default()
        };
        let clean = format!("RTX [31m{}", "x".repeat(MAX_TEXT_BYTES - 8));
        let status = reading.to_status();
        let some = Some(clean.clone());
        assert_eq!(
            [
                &status.uuid,
                &status.driver_version,
                &status.compute_capability
            ],
            [&some; 3]
        );
        assert_eq!(
            [status.name, reading.to_wire().name],
            [clean.clone(), clean]
        );
    }

    #[test]
    fn what_is_surely_free() {
        let gpu = |index: u32, free: Option<u64>| GpuReading {
            index,
            vram_free_bytes: free,
            ..GpuReading::default()
        };
        let snapshot = |gpus| Snapshot {
            gpus,
            problem: None,
        };
        let sure = snapshot(vec![gpu(0, Some(5)), gpu(1, Some(7))]);
        assert_eq!(sure.vram_surely_free_for(None), Some(12));
        assert_eq!(sure.vram_surely_free_for(Some("GPU1")), Some(7));
        assert_eq!(snapshot(Vec::new()).vram_surely_free_for(None), None);
        let unknown = snapshot(vec![gpu(0, Some(5)), gpu(1, None)]);
        assert_eq!(unknown.vram_surely_free_for(None), None);
        let late = Snapshot {
            problem: Some(GpuError::Late(Duration::from_secs(1))),
            ..sure
        };
        assert_eq!(late.vram_surely_free_for(None), None);
    }
}
