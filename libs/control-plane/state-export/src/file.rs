//! The file of an export: written at once and for its owner only, read up to its bound.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
};

use zeroize::Zeroizing;

use crate::{
    error::{FormatError, StateError},
    export::StateExport,
    limits::MAX_EXPORT_BYTES,
};

/// Writes an export to a file with mode 0600, after reading it back. A file that exists is replaced
/// at the end. Returns the size.
///
/// # Errors
/// When there is too much, or the file cannot be written.
pub fn write_file(path: &Path, export: &StateExport) -> Result<u64, StateError> {
    let bytes = export.to_bytes()?;
    let format = |problem| StateError::Format {
        file: path.to_owned(),
        problem,
    };
    if StateExport::parse(&bytes).map_err(format)? != *export {
        return Err(StateError::NotReadBack(path.to_owned()));
    }
    write(path, &bytes).map_err(|source| StateError::Io {
        path: path.to_owned(),
        source,
    })?;
    Ok(bytes.len() as u64)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().filter(|at| !at.as_os_str().is_empty());
    let directory = parent.unwrap_or_else(|| Path::new("."));
    // With mode 0600.
    let mut unfinished = tempfile::Builder::new()
        .prefix(".llorch-export-")
        .tempfile_in(directory)?;
    unfinished.write_all(bytes)?;
    unfinished.as_file().sync_all()?;
    unfinished.persist(path)?;
    state_file::sync_directory(directory)
}

/// Reads and verifies the export in a file.
///
/// # Errors
/// When it cannot be read, or is no export; the error names file and field.
pub fn read_file(path: &Path) -> Result<StateExport, StateError> {
    let io = |source| StateError::Io {
        path: path.to_owned(),
        source,
    };
    let format = |problem| StateError::Format {
        file: path.to_owned(),
        problem,
    };
    let file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    if size > MAX_EXPORT_BYTES {
        return Err(format(FormatError::TooLarge));
    }
    // Without growing, which would leave copies in memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size + 1).unwrap_or(0)));
    file.take(MAX_EXPORT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    StateExport::parse(&bytes).map_err(format)
}
