//! Small state files that survive a power failure, and what to do with one that is damaged.
//!
//! Every state file of the daemons is written by [`write()`] and read by [`recover`] or [`read`].
//! Files that people write are read by [`read_text`]. Two processes that would write the same ones
//! are kept apart by [`lock_directory`].

mod lock;
mod read;
mod write;

pub use lock::{DirectoryLock, InUse, lock_directory};
pub use read::{
    MAX_BYTES, MAX_SET_ASIDE, ReadError, StateFileError, read, read_text, recover, set_aside,
};
pub use write::{create_directory, sync_directory, write};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
