//! The errors of changes to pools and of directories.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use pool_registry_types::{PoolId, ReplicaId};
use thiserror::Error;

/// The pool file has no such pool.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the pool file has no pool {0}")]
pub struct UnknownPool(pub PoolId);

/// Why a pool was not changed. After a failed reload the pool is as before.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// The pool file has no such pool.
    #[error(transparent)]
    UnknownPool(#[from] UnknownPool),
    /// A new engine did not become ready.
    #[error("the new engine of {replica_id} did not become ready, so the old one stays: {reason}")]
    NotReady {
        /// Which replica.
        replica_id: ReplicaId,
        /// The reason.
        reason: Arc<str>,
    },
    /// An engine did not become ready after its restart. It is started again with backoff. The
    /// engines after it were not restarted.
    #[error(
        "{replica_id} did not become ready after its restart, so no further engine was restarted: \
         {reason}"
    )]
    NotBack {
        /// Which replica.
        replica_id: ReplicaId,
        /// The reason.
        reason: Arc<str>,
    },
    /// All engines are being stopped.
    #[error("the engines are being stopped")]
    Stopping,
}

/// A directory that cannot be used.
#[derive(Debug, Error)]
#[error("cannot use the directory {}", .path.display())]
pub struct DirectoryError {
    path: PathBuf,
    source: io::Error,
}

/// Runs `work` on a directory and names the directory in the error.
pub(crate) fn in_directory<T>(
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T>,
) -> Result<T, DirectoryError> {
    work(path).map_err(|source| DirectoryError {
        path: path.to_owned(),
        source,
    })
}
