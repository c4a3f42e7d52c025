//! What the watcher reports.

use std::path::PathBuf;

use pool_registry_types::Handoff;
use thiserror::Error;

use crate::limits::MAX_FILE_BYTES;

/// A change in the directory.
///
/// Applying `Appeared`, `Changed` and `Gone` to a map by pool and replica yields the state of the
/// directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandoffEvent {
    /// A replica is announced.
    #[non_exhaustive]
    Appeared {
        /// The file that announces it.
        path: PathBuf,
        /// Its handoff.
        handoff: Handoff,
    },
    /// The handoff of a replica changed.
    #[non_exhaustive]
    Changed {
        /// The file that announces it now.
        path: PathBuf,
        /// The handoff before.
        old: Handoff,
        /// The handoff now.
        new: Handoff,
    },
    /// The handoff of a replica is gone.
    #[non_exhaustive]
    Gone {
        /// The file that announced it.
        path: PathBuf,
        /// Its last handoff.
        handoff: Handoff,
    },
    /// A file is refused as a handoff. Reported once until the file changes.
    #[non_exhaustive]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong with it. Replaces an earlier reason for this file.
        reason: Refusal,
    },
    /// A file that was refused is gone, or is a handoff now.
    #[non_exhaustive]
    Resolved {
        /// The file.
        path: PathBuf,
    },
    /// The first scan is complete: everything that was in the directory has been reported. Reported
    /// once. A directory that does not exist counts as empty; one that cannot be listed is
    /// retried.
    Scanned,
}

/// Why a file is refused as a handoff.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is a symbolic link. Its target may belong to another user.
    #[error("it is a symbolic link; write the file itself")]
    SymbolicLink,
    /// It is a directory, a FIFO, a socket or a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// It belongs to a user other than the watcher's user and root.
    #[error("it belongs to user {uid}; only files of the agent's own user or of root are accepted")]
    ForeignOwner {
        /// Its owner.
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
    /// It is not JSON, or incomplete.
    #[error("it is not complete JSON: {0}")]
    NotJson(String),
    /// A field is missing or wrong.
    #[error("{0}")]
    WrongField(String),
    /// The filter of the watcher rejected it.
    #[error("{0}")]
    Rejected(String),
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
    /// Whether the file may just be being written, so that it is read again before it is refused.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::NotJson(_) | Self::NotUtf8 { .. } | Self::Unreadable(_)
        )
    }

    /// Whether the last handoff of the file stays valid. Not for a file that must not be read.
    pub(crate) fn keeps_last_state(&self) -> bool {
        !matches!(
            self,
            Self::SymbolicLink | Self::NotAFile | Self::ForeignOwner { .. }
        )
    }
}
