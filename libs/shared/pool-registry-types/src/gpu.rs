//! A node's GPUs: their properties, sent with the registration, and their state, sent with every
//! heartbeat.

use serde::{Deserialize, Serialize};

use crate::{
    limits::MAX_ERROR_BYTES,
    text::{clean, clean_error, clean_some},
};

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(from = "UnvalidatedGpu")]
#[non_exhaustive]
pub struct Gpu {
    /// Its index on the machine.
    pub device_id: u32,
    /// The vendor's name for it.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::schema::Text))]
    pub name: String,
    /// Its memory in bytes.
    pub vram_total_bytes: u64,
    /// CUDA compute capability, for example `8.6`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::schema::Text>))]
    pub compute_capability: Option<String>,
}

#[derive(Deserialize)]
struct UnvalidatedGpu {
    device_id: u32,
    name: String,
    vram_total_bytes: u64,
    compute_capability: Option<String>,
}

impl From<UnvalidatedGpu> for Gpu {
    fn from(raw: UnvalidatedGpu) -> Self {
        let mut gpu = Self {
            device_id: raw.device_id,
            name: raw.name,
            vram_total_bytes: raw.vram_total_bytes,
            compute_capability: raw.compute_capability,
        };
        gpu.clean_texts();
        gpu
    }
}

impl Gpu {
    /// A GPU with the required fields.
    #[must_use]
    pub fn new(device_id: u32, name: String, vram_total_bytes: u64) -> Self {
        Self {
            device_id,
            name,
            vram_total_bytes,
            compute_capability: None,
        }
    }

    pub(crate) fn clean_texts(&mut self) {
        clean(&mut self.name);
        clean_some(&mut self.compute_capability);
    }
}

/// The current state of one GPU. What its driver does not report is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(from = "UnvalidatedGpuStatus")]
#[non_exhaustive]
pub struct GpuStatus {
    /// Its index on the machine.
    pub device_id: u32,
    /// The vendor's name for it.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::schema::Text))]
    pub name: String,
    /// Identifies it, also after its index changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::schema::Text>))]
    pub uuid: Option<String>,
    /// The version of its driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::schema::Text>))]
    pub driver_version: Option<String>,
    /// CUDA compute capability, for example `8.6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<crate::schema::Text>))]
    pub compute_capability: Option<String>,
    /// Its memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vram_total_bytes: Option<u64>,
    /// Memory in use in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vram_used_bytes: Option<u64>,
    /// Free memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vram_free_bytes: Option<u64>,
    /// Its utilization in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization_percent: Option<u32>,
    /// Its temperature in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<u32>,
    /// Its power draw in whole watts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_watts: Option<u32>,
    /// What is wrong with it, for people. A GPU that no longer responds stays in the list with
    /// this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[derive(Deserialize)]
struct UnvalidatedGpuStatus {
    device_id: u32,
    name: String,
    uuid: Option<String>,
    driver_version: Option<String>,
    compute_capability: Option<String>,
    vram_total_bytes: Option<u64>,
    vram_used_bytes: Option<u64>,
    vram_free_bytes: Option<u64>,
    utilization_percent: Option<u32>,
    temperature_celsius: Option<u32>,
    power_watts: Option<u32>,
    problem: Option<String>,
}

impl From<UnvalidatedGpuStatus> for GpuStatus {
    fn from(raw: UnvalidatedGpuStatus) -> Self {
        let mut gpu = Self {
            device_id: raw.device_id,
            name: raw.name,
            uuid: raw.uuid,
            driver_version: raw.driver_version,
            compute_capability: raw.compute_capability,
            vram_total_bytes: raw.vram_total_bytes,
            vram_used_bytes: raw.vram_used_bytes,
            vram_free_bytes: raw.vram_free_bytes,
            utilization_percent: raw.utilization_percent,
            temperature_celsius: raw.temperature_celsius,
            power_watts: raw.power_watts,
            problem: raw.problem,
        };
        gpu.clean_texts();
        gpu
    }
}

impl GpuStatus {
    /// A GPU of which only index and name are known.
    #[must_use]
    pub fn new(device_id: u32, name: String) -> Self {
        Self {
            device_id,
            name,
            ..Self::default()
        }
    }

    pub(crate) fn clean_texts(&mut self) {
        clean(&mut self.name);
        clean_some(&mut self.uuid);
        clean_some(&mut self.driver_version);
        clean_some(&mut self.compute_capability);
        clean_error(&mut self.problem, MAX_ERROR_BYTES);
    }
}
