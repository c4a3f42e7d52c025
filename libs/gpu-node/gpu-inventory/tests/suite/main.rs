//! Tests of the inventory on simulated machines: a fake NVML, a fake sysfs, and a file.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail like the test"
)]

mod inventory;
mod machines;
mod sources;
