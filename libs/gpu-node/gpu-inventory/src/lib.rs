//! The GPUs, CPU cores and memory of this machine.
//!
//! A [`GpuSource`] reads the GPUs anew each time: [`NvmlSource`] asks NVIDIA's driver,
//! [`AmdSource`] reads what AMD's driver publishes under `/sys`, [`FileSource`] reads a file that
//! stands in for either on machines without GPUs, and [`NoGpus`] has none. An [`Inventory`] asks
//! one of them on a thread of its own, so that a driver that hangs holds up nobody, says each
//! problem once, and answers what a node wants to know.
//!
//! ```
//! let inventory = gpu_inventory::Inventory::detect();
//! let capabilities = inventory.capabilities(); // what a registration tells
//! let free = inventory.vram_free_for(Some("GPU0,GPU1")); // what a heartbeat tells of a pool
//! # assert!(capabilities.cpu_cores > 0);
//! # let _ = free;
//! ```
//!
//! This is the only crate that knows NVML. Nothing of NVIDIA is needed to build it: the driver's
//! library is opened when the program runs, and a machine without it simply has no such GPUs.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod amd;
mod file;
mod host;
mod inventory;
mod mask;
mod nvml;
mod problem;
mod reader;
mod reading;
mod said;
mod source;

pub use amd::AmdSource;
pub use file::FileSource;
pub use host::{HostResources, hostname};
pub use inventory::Inventory;
pub use mask::cuda_visible_devices;
pub use nvml::NvmlSource;
pub use problem::{ErrorText, GpuError, GpuProblem};
pub use reading::{GpuReading, MigReading, Snapshot};
pub use source::{GpuSource, NoGpus};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
