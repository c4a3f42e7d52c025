//! Where readings come from.

use crate::{GpuError, GpuReading};

/// Reads the GPUs of this machine.
///
/// Each call reads anew. A value that one GPU does not tell is `None`, and a GPU that fails says so
/// in its `problems`: neither spoils the others.
pub trait GpuSource: Send {
    /// Reads the GPUs, in index order.
    ///
    /// # Errors
    /// When nothing can be said about any GPU. Calling again later may succeed.
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
