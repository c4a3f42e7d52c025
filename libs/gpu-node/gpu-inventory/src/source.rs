//! The sources of GPU readings.

use crate::{problem::GpuError, reading::GpuReading};

/// Reads the GPUs of this machine.
///
/// Each call reads the current values. A value that a GPU does not report is `None`. A GPU that
/// fails lists its `problems` and does not affect the others.
pub trait GpuSource: Send {
    /// Reads the GPUs, in index order.
    ///
    /// # Errors
    /// When no GPU can be read. A later call may succeed.
    fn read(&mut self) -> Result<Vec<GpuReading>, GpuError>;
}

/// A machine without GPUs.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoGpus;

impl GpuSource for NoGpus {
    fn read(&mut self) -> Result<Vec<GpuReading>, GpuError> {
        Ok(Vec::new())
    }
}
