//! What all engines of a node share.

use std::path::PathBuf;

use pool_registry::PoolRegistry;

use crate::{handoffs::Handoffs, status::Board, vram::Vram};

/// Directories, the registry, the memory and the board.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) handoffs: Handoffs,
    /// Where processes are remembered.
    pub(crate) record_dir: PathBuf,
    /// Where engines write.
    pub(crate) log_dir: PathBuf,
    pub(crate) registry: PoolRegistry,
    pub(crate) vram: Vram,
    pub(crate) board: Board,
}
