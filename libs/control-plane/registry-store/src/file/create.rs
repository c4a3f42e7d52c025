//! Creates the directory and the file, the file in one step.

use std::{fs::DirBuilder, io, os::unix::fs::DirBuilderExt as _, path::Path};

use redb::backends::FileBackend;

use super::{
    options::builder,
    schema::{self, FileError},
};

/// The prefix of unfinished files. A file that a kill leaves behind is never read.
const UNFINISHED_PREFIX: &str = ".registry-";

/// Access for the owner only: the file has the addresses of all nodes.
const DIRECTORY_MODE: u32 = 0o700;

/// Creates the directory if it does not exist. Its parents get the usual mode, because they are not
/// only for the store.
pub(super) fn directory(directory: &Path) -> io::Result<()> {
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            state_file::create_directory(parent)?;
            create_in(parent, directory)
        }
        _ => create_in(Path::new("."), directory),
    }
}

/// Creates `directory` in `parent` so that it survives a power failure.
fn create_in(parent: &Path, directory: &Path) -> io::Result<()> {
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

/// Creates an empty store, unless another process is faster.
///
/// The file gets its name when it is complete, so an invalid file with this name is from another
/// program.
pub(super) fn file(directory: &Path, path: &Path) -> Result<(), FileError> {
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
    // The name survives a power failure once the directory is synced.
    Ok(state_file::sync_directory(directory)?)
}
