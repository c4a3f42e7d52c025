//! A store in one file of a directory: redb, which commits all or nothing and outlives a kill at
//! any moment.

mod create;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod schema;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use redb::{Database, DatabaseError};

use crate::{Change, RegistryStore, StoreError, StoredNode};
use schema::Fault;

/// What the file is called in its directory.
pub const FILE_NAME: &str = "registry.redb";

/// What is read again is not much: a thousand nodes take about two megabytes.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// Keeps everything in one file.
///
/// One process at a time has the file. A failed write leaves the file as it was before or as it
/// should be after; the next use opens it anew, so that a disk that was full or away is taken up
/// again without a restart.
pub struct FileStore {
    path: PathBuf,
    opener: Opener,
    /// `None` after a failure, until it is opened anew.
    database: Mutex<Option<Database>>,
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl FileStore {
    /// Opens the store in `directory`, and makes both if they do not exist: for nobody but this
    /// user.
    ///
    /// Reads and verifies the whole file, so that damage is found now and not in the middle of the
    /// night.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it; [`StoreError::Foreign`],
    /// [`StoreError::Damaged`] and [`StoreError::Newer`] when the file is not what it should
    /// be; [`StoreError::Unusable`] otherwise.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        let made = create::directory(directory)
            .map_err(Fault::from)
            .and_then(|()| match path.try_exists() {
                Ok(true) => Ok(()),
                Ok(false) => create::file(directory, &path),
                Err(error) => Err(error.into()),
            });
        if let Err(fault) = made {
            return Err(on_open(&path, fault));
        }
        let file = path.clone();
        Self::with_opener(path, Box::new(move || builder().open(&file)))
    }

    fn with_opener(path: PathBuf, opener: Opener) -> Result<Self, StoreError> {
        let store = Self {
            path,
            opener,
            database: Mutex::new(None),
        };
        let database = store.open_database()?;
        *store.database.lock() = Some(database);
        Ok(store)
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open_database(&self) -> Result<Database, StoreError> {
        let open = || {
            let database = (self.opener)()?;
            schema::check(&database)?;
            Ok(database)
        };
        open().map_err(|fault| on_open(&self.path, fault))
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Fault>) -> Result<T, StoreError> {
        let mut slot = self.database.lock();
        // Taken out: redb refuses everything after a failure, and what a panic leaves behind is not
        // to be met again.
        let database = match slot.take() {
            Some(database) => database,
            None => self.open_database()?,
        };
        let result = work(&database).map_err(|fault| in_use(&self.path, fault))?;
        *slot = Some(database);
        Ok(result)
    }
}

impl RegistryStore for FileStore {
    fn load(&self) -> Result<Vec<StoredNode>, StoreError> {
        let records = self.with(schema::read)?;
        for (node_id, error) in &records.unregistered {
            tracing::warn!(
                store = %self.path.display(), %node_id, %error,
                "The stored registration of a node cannot be read and is left out; the node joins again by itself within a \
                 heartbeat, and its drains hold"
            );
        }
        Ok(records.nodes)
    }

    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.with(|database| schema::write(database, changes))
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    builder
}

/// What a fault means while the file is opened.
fn on_open(path: &Path, fault: Fault) -> StoreError {
    match fault {
        Fault::Failed(source) => StoreError::Unusable {
            store: name(path),
            source,
        },
        other => about_the_file(path, other),
    }
}

/// What a fault means once the file is open.
fn in_use(path: &Path, fault: Fault) -> StoreError {
    match fault {
        Fault::Failed(source) => StoreError::Failed {
            store: name(path),
            source,
        },
        other => about_the_file(path, other),
    }
}

fn about_the_file(path: &Path, fault: Fault) -> StoreError {
    let store = name(path);
    match fault {
        Fault::Failed(source) => StoreError::Failed { store, source },
        Fault::Held => StoreError::InUse { store },
        Fault::Foreign(reason) => StoreError::Foreign { store, reason },
        Fault::Damaged(reason) => StoreError::Damaged { store, reason },
        Fault::Newer(found) => StoreError::Newer {
            store,
            found,
            known: schema::VERSION,
        },
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}
