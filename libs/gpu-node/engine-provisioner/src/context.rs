//! The parts that all engines of a node share.

use std::path::PathBuf;

use pool_registry::PoolRegistry;

use crate::{
    cpu_share::CpuShare, handoff_directory::HandoffDirectory, status::StatusBoard,
    vram_ledger::VramLedger,
};

/// Directories, registry, memory, CPU share and status board.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) handoffs: HandoffDirectory,
    /// For process records.
    pub(crate) record_dir: PathBuf,
    /// For the logs of engines.
    pub(crate) log_dir: PathBuf,
    /// Variables that no engine inherits.
    pub(crate) withheld_variables: Vec<String>,
    pub(crate) registry: PoolRegistry,
    pub(crate) vram: VramLedger,
    pub(crate) cpu: CpuShare,
    pub(crate) board: StatusBoard,
}
