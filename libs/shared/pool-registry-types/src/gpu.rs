//! A node's GPUs: their properties, sent with the registration, and their state, sent with every
//! heartbeat.

use serde::{Deserialize, Serialize};

use crate::text::{ErrorText, Text};

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Gpu {
    /// Its index on the machine.
    pub device_id: u32,
    /// The vendor's name for it.
    pub name: Text,
    /// Its memory in bytes.
    pub vram_total_bytes: u64,
    /// CUDA compute capability, for example `8.6`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<Text>,
}

impl Gpu {
    /// A GPU with the required fields.
    #[must_use]
    pub fn new(device_id: u32, name: Text, vram_total_bytes: u64) -> Self {
        Self {
            device_id,
            name,
            vram_total_bytes,
            compute_capability: None,
        }
    }
}

/// The current state of one GPU. What its driver does not report is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct GpuStatus {
    /// Its index on the machine.
    pub device_id: u32,
    /// The vendor's name for it.
    pub name: Text,
    /// Identifies it, also after its index changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Text>,
    /// The version of its driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_version: Option<Text>,
    /// CUDA compute capability, for example `8.6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<Text>,
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
    pub problem: Option<ErrorText>,
}

impl GpuStatus {
    /// A GPU of which only index and name are known.
    #[must_use]
    pub fn new(device_id: u32, name: Text) -> Self {
        Self {
            device_id,
            name,
            ..Self::default()
        }
    }
}
