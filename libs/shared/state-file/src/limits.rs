//! The size limit of state files.

/// The largest state file in bytes. Real ones have some hundred. The limit bounds the memory for a
/// damaged one.
pub const MAX_BYTES: u64 = 16 * 1024 * 1024;
