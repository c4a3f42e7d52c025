//! Makes the directory and the file, so that nobody ever sees half of one.

use std::{fs::DirBuilder, io, os::unix::fs::DirBuilderExt as _, path::Path};

use redb::backends::FileBackend;

use super::{
    builder,
    schema::{self, Fault},
};

/// What a file is called while it is made; one that a kill left behind is never looked at.
const UNFINISHED_PREFIX: &str = ".registry-";

/// For the owner only: it tells where every node is.
const DIRECTORY_MODE: u32 = 0o700;

/// Makes the directory when there is none. Those above it are made as any other program would,
/// because others may have business there.
pub(super) fn directory(directory: &Path) -> io::Result<()> {
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            state_file::create_directory(parent)?;
            made(parent, directory)
        }
        _ => made(Path::new("."), directory),
    }
}

/// Makes `directory` in `parent`, so that it survives a power failure.
fn made(parent: &Path, directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if directory.is_dir() {
                Ok(())
            } else {
                Err(io::ErrorKind::NotADirectory.into())
            }
        }
        Ok(()) => state_file::sync_directory(parent),
        Err(error) => Err(error),
    }
}

/// Makes a store with nothing in it, unless another process is faster.
///
/// It gets its name when it is complete: a file that bears the name and is not a store was never
/// one of ours.
pub(super) fn file(directory: &Path, path: &Path) -> Result<(), Fault> {
    // With mode 0600.
    let unfinished = tempfile::Builder::new()
        .prefix(UNFINISHED_PREFIX)
        .tempfile_in(directory)?;
    let backend = FileBackend::new(unfinished.as_file().try_clone()?)?;
    let database = builder().create_with_backend(backend)?;
    schema::initialise(&database)?;
    database.close()?;
    match unfinished.persist_noclobber(path) {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.error.into()),
    }
    // The name lasts once the directory is written.
    Ok(state_file::sync_directory(directory)?)
}
