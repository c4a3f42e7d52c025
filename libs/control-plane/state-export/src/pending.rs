//! The last step of an import: the staged state takes the place of the old one.
//!
//! One rename decides: once the staging directory has its final name, the import goes on to its end
//! in this process or in the next one that opens the directory. Before that, the old state is
//! untouched.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use registry_store::FILE_NAME;

use crate::{
    ca_files::remove_directory,
    error::StateError,
    layout::{NODE_ID_FILE, USAGE_DIR},
};

/// The name of the staging directory while it is filled. A kill leaves it behind, and nothing reads
/// it.
const UNFINISHED: &str = ".import-unfinished";
/// Its name when the import is decided.
const DECIDED: &str = ".import";
/// The old usage, in the staging directory, until that is removed.
const OLD_USAGE: &str = "old-usage";

/// The entries of a state, in the order in which they are replaced.
pub(crate) const ENTRIES: [&str; 3] = [FILE_NAME, USAGE_DIR, NODE_ID_FILE];

/// The directory to fill, in the directory of a store.
pub(crate) fn staging(directory: &Path) -> PathBuf {
    directory.join(UNFINISHED)
}

/// Decides the import of the staged state.
pub(crate) fn decide(directory: &Path) -> Result<(), StateError> {
    let decided = directory.join(DECIDED);
    fs::rename(staging(directory), &decided)
        .and_then(|()| state_file::sync_directory(directory))
        .map_err(|source| StateError::Io {
            path: decided,
            source,
        })
}

/// Finishes an import that was decided and interrupted. Nothing is done without one. The caller has
/// the lock of the directory.
///
/// # Errors
/// When a file cannot be moved; the next call goes on.
pub fn finish_import(directory: &Path) -> Result<(), StateError> {
    let decided = directory.join(DECIDED);
    if !decided.is_dir() {
        return Ok(());
    }
    let finished = ENTRIES
        .iter()
        .try_for_each(|entry| replace(directory, &decided, entry))
        .and_then(|()| state_file::sync_directory(directory))
        .and_then(|()| remove_directory(&decided))
        .and_then(|()| state_file::sync_directory(directory));
    finished.map_err(|source| StateError::Io {
        path: decided,
        source,
    })?;
    tracing::info!(dir = %directory.display(), "an import of all state is complete");
    Ok(())
}

/// Moves an entry to its place. Again, it does nothing.
fn replace(directory: &Path, decided: &Path, entry: &str) -> io::Result<()> {
    let (new, place) = (decided.join(entry), directory.join(entry));
    if !new.try_exists()? {
        return Ok(());
    }
    // A rename replaces a file, and no directory that has something in it.
    if place.is_dir() {
        fs::rename(&place, decided.join(OLD_USAGE))?;
    }
    fs::rename(&new, &place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(directory: &Path) -> Vec<String> {
        let usage = directory.join(USAGE_DIR).join("day");
        let files = [
            directory.join(FILE_NAME),
            usage,
            directory.join(NODE_ID_FILE),
        ];
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        files.iter().map(read).collect()
    }

    fn fill(directory: &Path, with: &str) {
        fs::create_dir_all(directory.join(USAGE_DIR)).unwrap();
        fs::write(directory.join(FILE_NAME), with).unwrap();
        fs::write(directory.join(USAGE_DIR).join("day"), with).unwrap();
        fs::write(directory.join(NODE_ID_FILE), with).unwrap();
    }

    // spec: KEEP-74
    #[test]
    fn an_import_that_was_interrupted_anywhere_is_finished() {
        // The renames of a whole import, in order; the kill comes after each of them.
        let moves: [(&str, &str); 4] = [
            (".import/registry.redb", FILE_NAME),
            (USAGE_DIR, ".import/old-usage"),
            (".import/usage", USAGE_DIR),
            (".import/node-id", NODE_ID_FILE),
        ];
        for killed_after in 0..=moves.len() {
            let directory = tempfile::tempdir().unwrap();
            let directory = directory.path();
            fill(directory, "old");
            fill(&staging(directory), "new");
            finish_import(directory).unwrap();
            assert_eq!(content(directory), ["old"; 3], "nothing is decided");
            decide(directory).unwrap();
            for (from, to) in moves.iter().take(killed_after) {
                fs::rename(directory.join(from), directory.join(to)).unwrap();
            }
            finish_import(directory).unwrap();
            assert_eq!(content(directory), ["new"; 3], "{killed_after}");
            assert!(!directory.join(DECIDED).exists());
            finish_import(directory).unwrap();
            assert_eq!(content(directory), ["new"; 3], "{killed_after}");
        }
    }
}
