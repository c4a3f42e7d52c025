//! What the watcher tells.

use std::path::PathBuf;

use pool_registry_types::Handoff;
use thiserror::Error;

use crate::read::MAX_FILE_BYTES;

/// What happened in the directory.
///
/// Whoever applies `Appeared`, `Changed` and `Gone` to a map by pool and replica has in it what the
/// directory says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An engine is up.
    Appeared(Handoff),
    /// The handoff of a replica says something else than before.
    Changed {
        /// What it said.
        old: Handoff,
        /// What it says now.
        new: Handoff,
    },
    /// The handoff of a replica is gone.
    Gone(Handoff),
    /// A file is not taken for a handoff. Said once until the file changes.
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; it replaces what was said of this file before.
        reason: Refusal,
    },
    /// A file that was refused is gone, or a handoff now.
    Resolved {
        /// The file.
        path: PathBuf,
    },
    /// The first look at the directory is over: everything that was there has been told. Said once;
    /// a directory that does not exist has nothing in it, one that cannot be listed is waited
    /// for.
    Scanned,
}

/// Why a file is not taken for a handoff.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It is a symbolic link, and where that leads is nobody's promise.
    #[error("it is a symbolic link; write the file itself")]
    SymbolicLink,
    /// It is a directory, a FIFO, a socket or a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// It belongs to somebody who has no say here.
    #[error("it belongs to user {uid}; only files of the agent's own user or of root are taken")]
    ForeignOwner {
        /// Whose it is.
        uid: u32,
    },
    /// It is too large.
    #[error("it has {bytes} bytes; a handoff has at most {MAX_FILE_BYTES}")]
    TooLarge {
        /// Its size; the size read so far when it grew meanwhile.
        bytes: u64,
    },
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// It is not UTF-8.
    #[error("it is not UTF-8 (first wrong byte: {offset})")]
    NotUtf8 {
        /// Where the first wrong byte is.
        offset: usize,
    },
    /// It is not JSON, or only the beginning of it.
    #[error("it is not complete JSON: {0}")]
    NotJson(String),
    /// A field is missing or wrong.
    #[error("{0}")]
    WrongField(String),
    /// Whoever watches has no use for it.
    #[error("{0}")]
    Unwanted(String),
    /// Another file announces the same replica.
    #[error("{} announces the same replica", other.display())]
    SameReplica {
        /// The other file.
        other: PathBuf,
    },
    /// Another file announces an engine at the same URL.
    #[error("{} announces the same url", other.display())]
    SameUrl {
        /// The other file.
        other: PathBuf,
    },
}

impl Refusal {
    /// Whether somebody may just be writing the file, so that waiting is better than complaining.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::NotJson(_) | Self::NotUtf8 { .. } | Self::Unreadable(_)
        )
    }

    /// Whether the file may still stand for what it last said. One that is no file of ours never
    /// does.
    pub(crate) fn keeps_last_good(&self) -> bool {
        !matches!(
            self,
            Self::SymbolicLink | Self::NotAFile | Self::ForeignOwner { .. }
        )
    }
}
