//! Reading one file: whether it may be read, and its content.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    time::{Duration, SystemTime},
};

use pool_registry_types::{Handoff, one_line};
use rustix::fs::OFlags;

use crate::{event::Refusal, limits::MAX_FILE_BYTES};

/// The longest reason for a wrong field, in bytes: a line of a log.
const MAX_REASON_BYTES: usize = 512;

/// Two writes within this time may leave the same timestamp. The granularity of file systems ranges
/// from nanoseconds to two seconds (FAT).
const TIMESTAMP_GRANULARITY: Duration = Duration::from_secs(2);

/// Identifies a state of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileFingerprint {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    /// The same for the inode: it also changes with owner and mode.
    changed: (i64, i64),
}

impl FileFingerprint {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether every later write will change the fingerprint, as seen at `now`. A timestamp in the
    /// future is not reliable.
    pub(crate) fn is_reliable(&self, now: SystemTime) -> bool {
        let changed = u64::try_from(self.changed.0).unwrap_or(0);
        now.duration_since(SystemTime::UNIX_EPOCH + Duration::from_secs(changed))
            .is_ok_and(|age| age > TIMESTAMP_GRANULARITY)
    }
}

/// Checks type, owner and size of a file before it is opened by a process of user `own_uid`.
pub(crate) fn check_metadata(metadata: &Metadata, own_uid: u32) -> Result<(), Refusal> {
    let kind = metadata.file_type();
    if kind.is_symlink() {
        return Err(Refusal::SymbolicLink);
    }
    if !kind.is_file() {
        return Err(Refusal::NotAFile);
    }
    check_owner(metadata.uid(), own_uid)?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(Refusal::TooLarge {
            bytes: metadata.len(),
        });
    }
    Ok(())
}

/// Accepts files of this user and of root. Another user could direct requests to an engine of their
/// own.
pub(crate) fn check_owner(uid: u32, own_uid: u32) -> Result<(), Refusal> {
    if uid == own_uid || uid == 0 {
        Ok(())
    } else {
        Err(Refusal::ForeignOwner { uid })
    }
}

/// Opens a file without following links and without blocking on a FIFO.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// Reads a handoff file.
pub(crate) fn read(path: &Path, own_uid: u32) -> Result<Handoff, Refusal> {
    let unreadable = |error: io::Error| Refusal::Unreadable(error.to_string());
    let file = open(path).map_err(unreadable)?;
    // The file may have been replaced since its metadata was checked.
    check_metadata(&file.metadata().map_err(unreadable)?, own_uid)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let length = bytes.len() as u64;
    if length > MAX_FILE_BYTES {
        return Err(Refusal::TooLarge { bytes: length });
    }
    parse(&bytes)
}

/// Parses the content of a handoff file.
pub(crate) fn parse(bytes: &[u8]) -> Result<Handoff, Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|error| Refusal::NotUtf8 {
        offset: error.valid_up_to(),
    })?;
    let mut json = serde_json::Deserializer::from_str(text);
    let handoff = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        if error.inner().is_data() {
            // The message repeats the value, which may be as long as the file.
            Refusal::WrongField(one_line(&error.to_string(), MAX_REASON_BYTES))
        } else {
            Refusal::NotJson(error.inner().to_string())
        }
    })?;
    json.end()
        .map_err(|error| Refusal::NotJson(error.to_string()))?;
    Ok(handoff)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: WIRE-26
    #[test]
    fn a_wrong_field_is_reported_in_one_short_line() {
        for value in ["x".repeat(60_000), "\\u001b[2J\\n".repeat(5_000)] {
            let file = format!(
                r#"{{"pool_id":"a","replica_id":"r","engine":"x","url":"http://h:1",
                    "slots":"{value}"}}"#
            );
            let refusal = parse(file.as_bytes()).unwrap_err();
            assert!(!refusal.is_transient(), "{refusal}");
            let text = refusal.to_string();
            assert!(text.starts_with("slots: invalid type"), "{text}");
            assert!(text.len() <= MAX_REASON_BYTES, "{} bytes", text.len());
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
}
