//! Reads files, and sets damaged ones aside.

use std::{
    fmt::Display,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use thiserror::Error;

use crate::{
    limits::MAX_BYTES,
    write::{directory_of, sync_directory},
};

/// How many damaged files of one name are kept. The next one replaces the last, because an operator
/// needs the first.
pub const MAX_SET_ASIDE: u32 = 5;

/// How many characters of a reason are repeated: it may quote the file.
const MAX_REASON_CHARS: usize = 200;

/// Why a file has no content.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It is empty, truncated, not a regular file, or does not parse.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The system could not read it. Its content may be fine.
    #[error("it cannot be read")]
    Failed(#[source] io::Error),
}

/// Why [`recover`] failed.
#[derive(Debug, Error)]
pub enum StateFileError {
    /// The system could not read it. Its content may be fine, so it stays where it is.
    #[error("cannot read {}: check the owner, the permissions and the disk, or remove the \
        file", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is damaged, and could not be renamed.
    #[error("{} is damaged ({reason}) and cannot be renamed: move it away", .path.display())]
    NotSetAside {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// The system's error.
        source: io::Error,
    },
}

/// The parsed content of `path`; `None` if there is no such file.
///
/// # Errors
/// See [`ReadError`]. Nothing is changed on the disk.
pub fn read<T, E: Display>(
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<T, E>,
) -> Result<Option<T>, ReadError> {
    match bytes(path) {
        Ok(bytes) if bytes.is_empty() => Err(ReadError::Damaged("it is empty".to_owned())),
        Ok(bytes) => parse(&bytes).map(Some).map_err(|error| {
            let reason = error.to_string();
            ReadError::Damaged(reason.chars().take(MAX_REASON_CHARS).collect())
        }),
        Err(ReadError::Failed(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The text of a file that a person wrote; `None` if it has more than `max_bytes`.
///
/// Reads no more than that, whatever length the system reports: some files, such as devices, report
/// none and have no end.
///
/// # Errors
/// The system's error, also for a text that is not UTF-8.
pub fn read_text(path: &Path, max_bytes: u64) -> io::Result<Option<String>> {
    text_of(File::open(path)?, max_bytes)
}

/// The same for a file that is read again and again: a pipe or a device is refused, because it
/// could be waited for without an end.
///
/// # Errors
/// As [`read_text`], and when it is no plain file.
pub fn read_plain_text(path: &Path, max_bytes: u64) -> io::Result<Option<String>> {
    text_of(open_plain(path)?, max_bytes)
}

/// Opens a plain file for reading, without waiting: a pipe or a device is refused.
///
/// # Errors
/// The system's error, and [`io::ErrorKind::InvalidInput`] when it is no plain file.
pub fn open_plain(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "it is no plain file",
    ))
}

fn text_of(file: File, max_bytes: u64) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Ok(None);
    }
    let text = String::from_utf8(bytes);
    text.map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Like [`read`], but sets a damaged file aside and then acts as if there were none; see
/// [`set_aside`].
///
/// # Errors
/// When the file cannot be read now, or cannot be set aside.
pub fn recover<T, E: Display>(
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<T, E>,
    consequence: &str,
) -> Result<Option<T>, StateFileError> {
    match read(path, parse) {
        Ok(content) => Ok(content),
        Err(ReadError::Failed(source)) => Err(StateFileError::Unreadable {
            path: path.to_owned(),
            source,
        }),
        Err(ReadError::Damaged(reason)) => match set_aside(path, &reason, consequence) {
            Ok(_) => Ok(None),
            Err(source) => Err(StateFileError::NotSetAside {
                path: path.to_owned(),
                reason,
                source,
            }),
        },
    }
}

/// Renames a damaged file to `NAME.unreadable-N` and logs that with the `consequence`, which
/// follows "so ". Returns the new path.
///
/// # Errors
/// The system's error.
pub fn set_aside(path: &Path, reason: &str, consequence: &str) -> io::Result<PathBuf> {
    let is_free = |path: &PathBuf| {
        let found = fs::symlink_metadata(path);
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let kept_as = (1..=MAX_SET_ASIDE)
        .map(|number| numbered(path, number))
        .find(is_free)
        .unwrap_or_else(|| numbered(path, MAX_SET_ASIDE));
    fs::rename(path, &kept_as)?;
    sync_directory(directory_of(path))?;
    tracing::warn!(
        file = %path.display(),
        kept_as = %kept_as.display(),
        reason,
        "A state file was damaged and is set aside, so {consequence}"
    );
    Ok(kept_as)
}

/// `x.json.unreadable-1`
fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".unreadable-{number}"));
    name.into()
}

fn bytes(path: &Path) -> Result<Vec<u8>, ReadError> {
    let not_plain = || ReadError::Damaged("it is no plain file".to_owned());
    let file = match open(path) {
        Ok(file) => file,
        // A socket cannot be opened.
        Err(_) if fs::metadata(path).is_ok_and(|found| !found.is_file()) => return Err(not_plain()),
        Err(error) => return Err(ReadError::Failed(error)),
    };
    if !file.metadata().map_err(ReadError::Failed)?.is_file() {
        return Err(not_plain());
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(ReadError::Failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ReadError::Damaged(format!(
            "it has more than {MAX_BYTES} bytes"
        )));
    }
    Ok(bytes)
}

/// Does not wait for the other end of a FIFO.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
}
