//! Small state files that survive a power failure, and recovery from damaged ones.
//!
//! [`write()`] writes every state file of the daemons, and [`recover`] or [`read`] reads it.
//! [`LineLog`] appends to files of lines. [`read_text`] reads files that people write.
//! [`lock_directory`] keeps two processes from writing the same files.

mod limits;
mod line_log;
mod lock;
mod read;
mod write;

pub use limits::MAX_BYTES;
pub use line_log::{LineLog, read_lines};
pub use lock::{DirectoryLock, InUse, lock_directory};
pub use read::{
    MAX_SET_ASIDE, ReadError, StateFileError, open_plain, read, read_plain_text, read_text,
    recover, set_aside,
};
pub use write::{create_directory, sync_directory, write, write_private};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
