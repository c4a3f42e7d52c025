//! Writing: the old content or the new one, never a part of one, also after a power failure.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::read::MAX_BYTES;

/// Replaces the content of `path`.
///
/// The bytes go to a temporary file in the same directory, which is flushed to the disk and
/// renamed; then the directory is flushed, without which the new name can be lost. Only one writer
/// may write a path at a time.
///
/// # Errors
/// What the system said, and more than [`MAX_BYTES`], which could not be read again. The old
/// content is still there, unless only the directory could not be flushed.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let temporary = temporary(path)?;
    let renamed = fill(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        // On a full disk it would take the space that others wait for.
        let _ = fs::remove_file(&temporary);
    }
    renamed?;
    sync_directory(directory_of(path))
}

/// Makes a directory and those above it that do not exist, so that they survive a power failure.
///
/// # Errors
/// What the system said.
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
/// What the system said. That a file system cannot do it for directories is no error: nothing
/// better is to be had there.
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

/// Hidden, and ending in `.tmp`: watchers of a directory do not look at such names.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    Ok(path.with_file_name(temporary))
}

fn fill(temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    let create = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(temporary)
    };
    let mut file = match create() {
        // A kill left it behind.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(temporary)?;
            create()?
        }
        created => created?,
    };
    file.write_all(bytes)?;
    file.sync_all()
}

/// Where the name of `path` stands.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn is_missing(path: &Path) -> bool {
    !path.as_os_str().is_empty() && matches!(path.try_exists(), Ok(false))
}
