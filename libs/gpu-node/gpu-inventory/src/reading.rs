//! One GPU as its driver described it.

use pool_registry_types::{ErrorText, Gpu, GpuStatus, Text, limits::MAX_ERROR_BYTES, one_line};
use serde::Deserialize;

use crate::problem::GpuProblem;

/// One GPU as its driver described it. Values that the driver does not report are `None`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuReading {
    /// Its index on this machine.
    pub index: u32,
    /// Its model name.
    pub name: String,
    /// Identifies it permanently, even when its index changes.
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
    /// Its power consumption in milliwatts.
    pub power_milliwatts: Option<u32>,
    /// Its MIG instances, if it is divided.
    #[serde(default)]
    pub mig: Vec<MigReading>,
    /// What is wrong with it.
    #[serde(skip)]
    pub problems: Vec<GpuProblem>,
}

impl GpuReading {
    /// Whether it answers.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.problems.contains(&GpuProblem::Lost)
    }

    /// Its description in a registration; an unknown total is 0.
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

    /// Its status in a heartbeat, even when it does not answer.
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
        gpu.problem = (!problems.is_empty())
            .then(|| ErrorText::cut(&one_line(&problems.join("; "), MAX_ERROR_BYTES)));
        gpu
    }
}

/// A text of a driver within the limits of a message.
fn text(words: &str) -> Text {
    Text::cut(words.trim())
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

#[cfg(test)]
mod tests {
    use pool_registry_types::MAX_TEXT_BYTES;

    use super::*;

    // spec: WIRE-17
    #[test]
    fn texts_of_a_driver_are_bounded_and_cleaned() {
        let odd = format!("RTX\u{1b}[31m{}", "x".repeat(500));
        let reading = GpuReading {
            name: odd.clone(),
            uuid: Some(odd.clone()),
            driver_version: Some(odd.clone()),
            compute_capability: Some(odd),
            ..GpuReading::default()
        };
        let clean = Text::new(&format!("RTX [31m{}", "x".repeat(MAX_TEXT_BYTES - 8))).unwrap();
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
}
