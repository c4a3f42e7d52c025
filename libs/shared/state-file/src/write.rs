//! Writes files atomically: after a power failure the content is the old or the new one.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::limits::MAX_BYTES;

/// The mode of files, as the system's default is.
const MODE: u32 = 0o666;
/// The mode of secrets.
pub(crate) const PRIVATE_MODE: u32 = 0o600;

/// Replaces the content of `path`.
///
/// Writes to a temporary file in the same directory, flushes it to the disk and renames it; then
/// flushes the directory, without which the new name can be lost. Only one writer may write a path
/// at a time.
///
/// # Errors
/// The system's error, or more than [`MAX_BYTES`], which could not be read again. The old content
/// remains, unless only the directory could not be flushed.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    bounded(bytes)?;
    replace(path, bytes, MODE)
}

/// The same for a secret: only this user can read it, from its first byte on.
///
/// # Errors
/// As [`write()`].
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    bounded(bytes)?;
    replace(path, bytes, PRIVATE_MODE)
}

fn bounded(bytes: &[u8]) -> io::Result<()> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(())
}

/// The same for any size. The mask of the process takes bits away from `mode`.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = temporary(path)?;
    let renamed = fill(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        // On a full disk it would keep occupying space.
        let _ = fs::remove_file(&temporary);
    }
    renamed?;
    sync_directory(directory_of(path))
}

/// Creates a directory and its missing parents, so that they survive a power failure.
///
/// # Errors
/// The system's error.
pub fn create_directory(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|above| is_missing(above))
        .collect();
    fs::create_dir_all(path)?;
    (missing.into_iter()).try_for_each(|made| sync_directory(directory_of(made)))
}

/// Flushes the names in a directory to the disk.
///
/// # Errors
/// The system's error. A file system that cannot flush directories is not an error, because there
/// is no alternative.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory)?.sync_all() {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

/// Hidden, and ending in `.tmp`: watchers of a directory ignore such names.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    Ok(path.with_file_name(temporary))
}

fn fill(temporary: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let create = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(temporary)
    };
    let mut file = match create() {
        // Left by a killed process.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(temporary)?;
            create()?
        }
        created => created?,
    };
    file.write_all(bytes)?;
    file.sync_all()
}

/// The directory of `path`.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn is_missing(path: &Path) -> bool {
    !path.as_os_str().is_empty() && matches!(path.try_exists(), Ok(false))
}
