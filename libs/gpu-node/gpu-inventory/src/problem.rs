//! What can be wrong with one GPU, and with all of them.

use std::time::Duration;

use thiserror::Error;

/// Why no GPU can be read at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GpuError {
    /// There is no such library: mostly a machine without GPUs of this make.
    #[error("the library libnvidia-ml.so.1 is not installed")]
    NoLibrary(#[source] ErrorText),
    /// There is a library of this name, but it is not NVML.
    #[error("libnvidia-ml.so.1 is not NVIDIA's library: install the driver anew")]
    WrongLibrary(#[source] ErrorText),
    /// The library is there, the kernel driver is not.
    #[error("NVIDIA's kernel driver is not loaded: try `modprobe nvidia`, and see `dmesg`")]
    NoDriver,
    /// The library was upgraded and the running kernel driver was not.
    #[error(
        "NVIDIA's library and kernel driver are of different versions: reboot, or reload the \
         driver"
    )]
    VersionMismatch,
    /// This user may not talk to the driver.
    #[error("no permission to talk to the GPU driver: check the access to /dev/nvidia*")]
    NoPermission,
    /// The driver says something else.
    #[error("the GPU driver does not work, see `nvidia-smi` and `dmesg`")]
    Driver(#[source] ErrorText),
    /// A file that tells about GPUs cannot be read or understood.
    #[error("cannot use {file}")]
    File {
        /// Its path.
        file: String,
        /// What is wrong with it.
        #[source]
        source: ErrorText,
    },
    /// The driver did not answer in time; what was last read still stands.
    #[error("the GPU driver has not answered for {0:?}: a GPU may hang, see `dmesg`")]
    Late(Duration),
}

/// The words of somebody else's error, kept so that [`GpuError`] can be cloned and compared.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ErrorText(String);

impl ErrorText {
    /// What `error` says.
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
    /// The driver is too old to tell its memory (before version 510).
    #[error(
        "its driver is too old to tell how much memory it has: upgrade to version 510 or later"
    )]
    OldDriver,
    /// It is divided, and engines see its instances only.
    #[error("it is divided by MIG: name its instances by their UUIDs in device masks")]
    Divided,
    /// Something that every GPU tells could not be read.
    #[error("cannot read its {what}: {why}")]
    Unreadable {
        /// Which value.
        what: &'static str,
        /// The driver's words.
        why: String,
    },
}
