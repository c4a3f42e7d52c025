//! Locks a directory for one process and purpose.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
    process::geteuid,
};
use thiserror::Error;

/// The longest process id, with its line break.
const MAX_PID_BYTES: u64 = 16;

/// Holds the lock of a directory for one purpose, until it is dropped or the process ends.
#[derive(Debug)]
#[must_use = "dropping it lets another process have the directory"]
pub struct DirectoryLock {
    _file: File,
}

/// Another process holds the directory for the same purpose.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{} is in use: {} is {role} there already; stop that one, or give this one another directory",
    .dir.display(),
    .pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
)]
pub struct InUse {
    /// The directory.
    pub dir: PathBuf,
    /// The purpose, as in "the node".
    pub role: &'static str,
    /// The process, if it has written its id.
    pub pid: Option<u32>,
}

/// Locks `dir` for the purpose `name`, which messages call `role`.
///
/// It is a system lock on the file `.name.lock` in the directory, which holds the process id. A
/// file of a dead process is no lock. Returns `None` where nothing can be locked: in a directory
/// that this process cannot write, no process of its user can create a lock either, and an existing
/// one is respected. A file of another user is ignored: it could lock everyone out.
///
/// # Errors
/// When another process, or another lock of this process, holds it.
pub fn lock_directory(
    dir: &Path,
    name: &str,
    role: &'static str,
) -> Result<Option<DirectoryLock>, InUse> {
    let path = dir.join(format!(".{name}.lock"));
    let mut file = match open(&path) {
        Ok(file) => file,
        Err(error) if is_not_ours_to_write(&error) => {
            tracing::debug!(path = %path.display(), %error, "cannot lock a directory");
            return Ok(None);
        }
        Err(error) => {
            tracing::warn!(
                path = %path.display(), %error,
                "cannot lock a directory, so a second process would not be noticed; remove what \
                    is at this path"
            );
            return Ok(None);
        }
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(InUse {
                dir: dir.to_owned(),
                role,
                pid: pid_in(&mut file),
            });
        }
        Err(error) => {
            tracing::debug!(path = %path.display(), %error, "this file system has no locks");
            return Ok(None);
        }
    }
    if let Err(error) = write_pid(&mut file) {
        tracing::debug!(path = %path.display(), %error, "cannot note who has locked a directory");
    }
    Ok(Some(DirectoryLock { _file: file }))
}

fn is_not_ours_to_write(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::ReadOnlyFilesystem,
    ];
    kinds.contains(&error.kind())
}

/// Opens the file to be locked; read-only if it cannot be written.
fn open(path: &Path) -> io::Result<File> {
    // Refuse links, and do not block on a FIFO.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let options = || {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags);
        options
    };
    let file = options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(path)
        .or_else(|error| options().open(path).map_err(|_| error))?;
    let metadata = file.metadata()?;
    let is_ours = [geteuid().as_raw(), 0].contains(&metadata.uid());
    if !(metadata.is_file() && is_ours) {
        return Err(io::Error::other("it is not a plain file of this user"));
    }
    Ok(file)
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The process that holds the lock; `None` if it has not written its id yet, or could not, so that
/// the id in the file belongs to a dead process.
fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(MAX_PID_BYTES).read_to_string(&mut text).ok()?;
    let pid: u32 = text.trim().parse().ok()?;
    Path::new("/proc")
        .join(pid.to_string())
        .exists()
        .then_some(pid)
}
