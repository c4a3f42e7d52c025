//! Problems of one GPU, and of all GPUs.

use std::time::Duration;

use thiserror::Error;

use crate::xid::Xid;

/// Why no GPU can be read at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GpuError {
    /// There is no such library: usually a machine without NVIDIA GPUs.
    #[error("the library libnvidia-ml.so.1 is not installed")]
    NoLibrary(#[source] ErrorText),
    /// A library of this name exists, but it is not NVML.
    #[error("libnvidia-ml.so.1 is not NVIDIA's library: reinstall the driver")]
    WrongLibrary(#[source] ErrorText),
    /// The library is installed, the kernel driver is not loaded.
    #[error("NVIDIA's kernel driver is not loaded: try `modprobe nvidia`, and see `dmesg`")]
    NoDriver,
    /// The library was upgraded and the running kernel driver was not.
    #[error(
        "NVIDIA's library and kernel driver are of different versions: reboot, or reload the \
         driver"
    )]
    VersionMismatch,
    /// This user may not access the driver.
    #[error("no permission to talk to the GPU driver: check the access to /dev/nvidia*")]
    NoPermission,
    /// Another error of the driver.
    #[error("the GPU driver does not work, see `nvidia-smi` and `dmesg`")]
    Driver(#[source] ErrorText),
    /// A file that describes GPUs cannot be read or parsed.
    #[error("cannot use {file}")]
    File {
        /// Its path.
        file: String,
        /// What is wrong with it.
        #[source]
        source: ErrorText,
    },
    /// The driver did not answer in time; the last reading is still valid.
    #[error("the GPU driver has not answered for {0:?}: a GPU may hang, see `dmesg`")]
    Late(Duration),
}

/// The text of another error, so that [`GpuError`] can be cloned and compared.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ErrorText(String);

impl ErrorText {
    /// The text of `error`.
    pub(crate) fn of(error: &impl ToString) -> Self {
        Self(error.to_string())
    }
}

/// What is wrong with one GPU while the others work.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
#[non_exhaustive]
pub enum GpuProblem {
    /// It fell off the bus, or needs a reset.
    #[error("it does not answer any more and needs a reset, a reboot or new hardware")]
    Lost,
    /// The driver reported a fault within the last hour.
    #[error("its driver reported {0}")]
    Fault(Xid),
    /// The driver is too old to report its memory (before version 510).
    #[error("its driver is too old to report its memory: upgrade to version 510 or later")]
    OldDriver,
    /// It is divided, so engines see only its instances.
    #[error("it is divided by MIG: name its instances by their UUIDs in device masks")]
    Divided,
    /// A value that every GPU reports could not be read.
    #[error("cannot read its {what}: {why}")]
    Unreadable {
        /// Which value.
        what: &'static str,
        /// The error of the driver.
        why: String,
    },
}
