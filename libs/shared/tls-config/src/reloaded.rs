//! A state that is made from files, and made again when they change.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::{Mutex, RwLock};

use crate::{TlsError, files};

/// What a look at the files has shown.
#[derive(Debug)]
pub enum Reload {
    /// They are as they were.
    Unchanged,
    /// They have changed, and the new state holds.
    Loaded,
    /// They have changed, and are broken. The last good state holds. Returned once for each
    /// content.
    Refused(TlsError),
}

/// The contents of the files, in the order of their paths. An unreadable one is `None`.
type Contents = Vec<Option<Vec<u8>>>;

/// The state, and the files that it is made from.
///
/// Contents are compared, not times: a copy may keep its time, and two writes may have the same
/// one. The files have a few kilobytes.
pub(crate) struct Reloaded<T> {
    current: RwLock<Arc<T>>,
    paths: Vec<PathBuf>,
    seen: Mutex<Seen>,
}

struct Seen {
    /// Made the current state, or was refused.
    settled: Contents,
    /// Differs from `settled` and is broken. It is refused only when the next look finds the same:
    /// a certificate and its key are two files, and a look may fall between their replacements.
    suspect: Option<Contents>,
}

impl<T> Reloaded<T> {
    /// Makes the first state with `load`. Nothing may depend on a file that is not in `paths`.
    pub(crate) fn new(
        paths: Vec<PathBuf>,
        load: impl FnOnce() -> Result<T, TlsError>,
    ) -> Result<Self, TlsError> {
        // Read before the state is made: a change in between is seen by the next look.
        let settled = contents(&paths);
        Ok(Self {
            current: RwLock::new(Arc::new(load()?)),
            paths,
            seen: Mutex::new(Seen {
                settled,
                suspect: None,
            }),
        })
    }

    /// A state that no file changes.
    pub(crate) fn without_files(state: T) -> Self {
        Self {
            current: RwLock::new(Arc::new(state)),
            paths: Vec::new(),
            seen: Mutex::new(Seen {
                settled: Vec::new(),
                suspect: None,
            }),
        }
    }

    pub(crate) fn has_files(&self) -> bool {
        !self.paths.is_empty()
    }

    pub(crate) fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read())
    }

    /// Makes the state again with `load` if the files have changed.
    pub(crate) fn reload(&self, load: impl FnOnce() -> Result<T, TlsError>) -> Reload {
        let mut seen = self.seen.lock();
        let found = contents(&self.paths);
        if found == seen.settled {
            seen.suspect = None;
            return Reload::Unchanged;
        }
        match load() {
            Ok(state) => {
                *self.current.write() = Arc::new(state);
                *seen = Seen {
                    settled: found,
                    suspect: None,
                };
                Reload::Loaded
            }
            Err(error) if seen.suspect.as_ref() == Some(&found) => {
                *seen = Seen {
                    settled: found,
                    suspect: None,
                };
                Reload::Refused(error)
            }
            Err(_) => {
                seen.suspect = Some(found);
                Reload::Unchanged
            }
        }
    }
}

fn contents(paths: &[PathBuf]) -> Contents {
    let read = |path: &PathBuf| files::read(Path::new(path)).ok();
    paths.iter().map(read).collect()
}
