//! Errors of drains.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use pool_registry::UnknownTarget;
use thiserror::Error;

/// Why a drain did not start or end.
#[derive(Debug, Error)]
pub enum DrainError {
    /// The node has no such pool, or the pool no such replica.
    #[error(transparent)]
    Unknown(#[from] UnknownTarget),
    /// The drain is active, but a restart loses it.
    #[error(
        "the drain is active, but {} cannot be written, so a restart of the agent loses it",
        .path.display()
    )]
    NotStored {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// The drain is active; a restart may lose it.
    #[error(
        "the drain is active, but the disk does not respond: {} is not written after {} s, so a \
         restart of the agent may lose it",
        .path.display(), .within.as_secs()
    )]
    NotStoredYet {
        /// The file.
        path: PathBuf,
        /// The time limit.
        within: Duration,
    },
}
