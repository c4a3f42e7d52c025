//! The GPUs, CPU cores and memory of this machine.
//!
//! A [`GpuSource`] reads the GPUs on each call: [`NvmlSource`] asks NVIDIA's driver, [`AmdSource`]
//! reads what AMD's driver publishes under `/sys`, [`FileSource`] reads a file on machines without
//! GPUs, and [`NoGpus`] has none. An [`Inventory`] reads a source on its own thread, so that a
//! driver that hangs blocks no caller for long, and logs each problem once.
//!
//! ```
//! let inventory = gpu_inventory::Inventory::detect();
//! let capabilities = inventory.capabilities(); // for a registration
//! let free = inventory.vram_free_for(Some("GPU0,GPU1")); // of a pool, for a heartbeat
//! # assert!(capabilities.cpu_cores > 0);
//! # let _ = free;
//! ```
//!
//! This is the only crate that uses NVML. Nothing of NVIDIA is needed to build it: the driver's
//! library is opened at run time, and a machine without it has no such GPUs.

// These numbers come from drivers: arithmetic must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod amd;
mod file;
mod host;
mod inventory;
mod mask;
mod nvml;
mod nvml_faults;
mod problem;
mod problem_log;
mod reader;
mod reading;
mod snapshot;
mod source;
mod xid;

pub use amd::AmdSource;
pub use file::FileSource;
pub use host::{HostResources, boot_id, hostname};
pub use inventory::Inventory;
pub use mask::cuda_visible_devices;
pub use nvml::NvmlSource;
pub use problem::{ErrorText, GpuError, GpuProblem};
pub use reading::{GpuReading, MigReading};
pub use snapshot::Snapshot;
pub use source::{GpuSource, NoGpus};
pub use xid::Xid;

/// Compiles the examples of the README as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
