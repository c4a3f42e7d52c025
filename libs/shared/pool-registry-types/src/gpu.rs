//! A node's GPUs: what they are, told when it registers, and how they are, told in every heartbeat.

use serde::{Deserialize, Serialize};

use crate::{
    limits::MAX_GPUS,
    pool::{Invalid, check_text, shorten},
};

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Gpu {
    /// Its index on the machine.
    pub device_id: u32,
    /// The vendor's name for it.
    pub name: String,
    /// Its memory in bytes.
    pub vram_total_bytes: u64,
    /// CUDA compute capability, for example `8.6`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<String>,
}

/// One GPU as it is now. What its driver does not tell is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "UnvalidatedGpu")]
pub struct GpuStatus {
    /// Its index on the machine.
    pub device_id: u32,
    /// The vendor's name for it.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::schema::Text))]
    pub name: String,
    /// Names it for good, also after its index changed.
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
    /// How busy it is, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization_percent: Option<u32>,
    /// Its temperature in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<u32>,
    /// What it draws, in whole watts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_watts: Option<u32>,
    /// What is wrong with it, for people; one that does not answer any more stays in the list with this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[derive(Deserialize)]
struct UnvalidatedGpu {
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

impl TryFrom<UnvalidatedGpu> for GpuStatus {
    type Error = Invalid;

    fn try_from(raw: UnvalidatedGpu) -> Result<Self, Invalid> {
        check_text("name", Some(&raw.name))?;
        check_text("uuid", raw.uuid.as_deref())?;
        check_text("driver_version", raw.driver_version.as_deref())?;
        check_text("compute_capability", raw.compute_capability.as_deref())?;
        Ok(Self {
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
            problem: shorten(raw.problem),
        })
    }
}

/// Refuses more GPUs than a machine has.
pub(crate) fn check_gpus(gpus: Option<&[GpuStatus]>) -> Result<(), Invalid> {
    match gpus {
        Some(gpus) if gpus.len() > MAX_GPUS => Err(Invalid::new(
            "gpus",
            format!("must be at most {MAX_GPUS} GPUs, not {}", gpus.len()),
        )),
        _ => Ok(()),
    }
}
