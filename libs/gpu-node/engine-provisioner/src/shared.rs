//! What all engines of a node share.

use std::path::PathBuf;

use pool_registry::PoolRegistry;

use crate::{cpu_share::CpuShare, handoffs::Handoffs, status::Board, vram::Vram};

/// Directories, the registry, the memory, the cores and the board.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) handoffs: Handoffs,
    /// Where processes are remembered.
    pub(crate) record_dir: PathBuf,
    /// Where engines write.
    pub(crate) log_dir: PathBuf,
    pub(crate) registry: PoolRegistry,
    pub(crate) vram: Vram,
    pub(crate) cpu: CpuShare,
    pub(crate) board: Board,
}
