//! One file: whether it may be read at all, and what it says.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    time::{Duration, SystemTime},
};

use pool_registry_types::{Handoff, MAX_HANDOFF_BYTES, one_line};
use rustix::fs::OFlags;

use crate::event::Refusal;

/// The largest handoff file in bytes. A thousand model names of the longest kind would need more.
pub const MAX_FILE_BYTES: u64 = MAX_HANDOFF_BYTES as u64;

/// How much of what is wrong with a field is told: a line of a log.
const MAX_REASON_BYTES: usize = 512;

/// Two writes within this time may leave the same time stamp. File systems differ from nanoseconds
/// to two seconds (FAT).
const STAMP_GRANULARITY: Duration = Duration::from_secs(2);

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    /// The same; moves also when owner or mode change.
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a later write is certain to leave another stamp, as seen at `now`. A stamp of the
    /// future is not to be trusted.
    pub(crate) fn is_settled(&self, now: SystemTime) -> bool {
        let changed = u64::try_from(self.changed.0).unwrap_or(0);
        now.duration_since(SystemTime::UNIX_EPOCH + Duration::from_secs(changed))
            .is_ok_and(|age| age > STAMP_GRANULARITY)
    }
}

/// Whether a file of this kind, owner and size may be opened by a process of user `ours`.
pub(crate) fn admit(metadata: &Metadata, ours: u32) -> Result<(), Refusal> {
    let kind = metadata.file_type();
    if kind.is_symlink() {
        return Err(Refusal::SymbolicLink);
    }
    if !kind.is_file() {
        return Err(Refusal::NotAFile);
    }
    check_owner(metadata.uid(), ours)?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(Refusal::TooLarge {
            bytes: metadata.len(),
        });
    }
    Ok(())
}

/// Root may do everything anyway; anybody else could point our requests at an engine of their own.
pub(crate) fn check_owner(uid: u32, ours: u32) -> Result<(), Refusal> {
    if uid == ours || uid == 0 {
        Ok(())
    } else {
        Err(Refusal::ForeignOwner { uid })
    }
}

/// Opens without following a link and without waiting for a FIFO's other end.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// Reads a file and says what it announces.
pub(crate) fn read(path: &Path, ours: u32) -> Result<Handoff, Refusal> {
    let unreadable = |error: io::Error| Refusal::Unreadable(error.to_string());
    let file = open(path).map_err(unreadable)?;
    // Between the look that led here and the opening, somebody may have put something else in its
    // place.
    admit(&file.metadata().map_err(unreadable)?, ours)?;
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

/// What the content of a file announces.
pub(crate) fn parse(bytes: &[u8]) -> Result<Handoff, Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|error| Refusal::NotUtf8 {
        offset: error.valid_up_to(),
    })?;
    let mut json = serde_json::Deserializer::from_str(text);
    let handoff = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        if error.inner().is_data() {
            // It repeats the value, which may be as long as the file.
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
    fn a_wrong_field_is_told_in_one_short_line() {
        for value in ["x".repeat(60_000), "\\u001b[2J\\n".repeat(5_000)] {
            let file = format!(
                r#"{{"pool_id":"a","replica_id":"r","engine":"x","url":"http://h:1","slots":"{value}"}}"#
            );
            let refusal = parse(file.as_bytes()).unwrap_err();
            assert!(!refusal.may_pass(), "{refusal}");
            let text = refusal.to_string();
            assert!(text.starts_with("slots: invalid type"), "{text}");
            assert!(text.len() <= MAX_REASON_BYTES, "{} bytes", text.len());
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
}
