//! The inventory against machines made of files: a fake NVML, a fake sysfs, and the file twin.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail like the test"
)]

mod inventory;
mod machines;
mod sources;
