//! A store in one file, by redb, which commits all changes or none and survives a kill at any
//! time.

mod create;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod joins;
mod keys;
mod options;
mod schema;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use access_keys::{AccessKey, Effect};
use join_tokens::{Effect as JoinEffect, JoinToken, NodeCredentials};
use parking_lot::Mutex;
use redb::{Database, DatabaseError};

use crate::{
    Change, JoinStore, KeyStore, RegistryStore, StateStore, StoreError, StoredNode, StoredState,
};
use schema::FileError;

/// The name of the file.
pub const FILE_NAME: &str = "registry.redb";

type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// Keeps everything in one file.
///
/// Only one process can open the file. A failed write leaves the file in the state before or after
/// the write. The next use opens the file again, so that a disk that was full or away works again
/// without a restart.
pub struct FileStore {
    path: PathBuf,
    opener: Opener,
    /// `None` after a failure, until it is opened again.
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
    /// Opens the store in `directory`. Creates both if they do not exist, with access for this user
    /// only.
    ///
    /// It reads and verifies the whole file, so that damage is found at the start.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process uses it; [`StoreError::Foreign`],
    /// [`StoreError::Damaged`] and [`StoreError::Newer`] when the file is not valid;
    /// [`StoreError::Unusable`] otherwise.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        let made = create::directory(directory)
            .map_err(FileError::from)
            .and_then(|()| match path.try_exists() {
                Ok(true) => Ok(()),
                Ok(false) => create::file(directory, &path),
                Err(error) => Err(error.into()),
            });
        if let Err(error) = made {
            return Err(on_open(&path, error));
        }
        let file = path.clone();
        Self::with_opener(path, Box::new(move || options::builder().open(&file)))
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

    /// The path of the file.
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
        open().map_err(|error| on_open(&self.path, error))
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, FileError>,
    ) -> Result<T, StoreError> {
        let mut slot = self.database.lock();
        // Taken out, because redb refuses everything after a failure, and a panic may leave an
        // invalid state.
        let database = match slot.take() {
            Some(database) => database,
            None => self.open_database()?,
        };
        let result = work(&database).map_err(|error| in_use(&self.path, error))?;
        *slot = Some(database);
        Ok(result)
    }
}

impl StateStore for FileStore {
    fn load_all(&self) -> Result<StoredState, StoreError> {
        // Only this store writes the file, and not while it lends the database.
        let (records, keys, (join_tokens, node_credentials)) = self.with(|database| {
            let nodes = schema::read(database)?;
            Ok((nodes, keys::read(database)?, joins::read(database)?))
        })?;
        Ok(StoredState {
            nodes: self.nodes_of(records),
            keys,
            join_tokens,
            node_credentials,
        })
    }
}

impl FileStore {
    /// The nodes of records, with a warning for each registration that is left out.
    fn nodes_of(&self, records: schema::Records) -> Vec<StoredNode> {
        for (node_id, error) in &records.unregistered {
            tracing::warn!(
                store = %self.path.display(), %node_id, %error,
                "The stored registration of a node cannot be read and is left out; the node joins \
                 again within a heartbeat, and its drains hold"
            );
        }
        records.nodes
    }
}

impl RegistryStore for FileStore {
    fn load(&self) -> Result<Vec<StoredNode>, StoreError> {
        Ok(self.nodes_of(self.with(schema::read)?))
    }

    fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.with(|database| schema::write(database, changes))
    }
}

impl KeyStore for FileStore {
    fn load_keys(&self) -> Result<Vec<AccessKey>, StoreError> {
        self.with(keys::read)
    }

    fn apply_keys(&self, changes: &[Effect]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.with(|database| keys::write(database, changes))
    }
}

impl JoinStore for FileStore {
    fn load_joins(&self) -> Result<(Vec<JoinToken>, Vec<NodeCredentials>), StoreError> {
        self.with(joins::read)
    }

    fn apply_joins(&self, changes: &[JoinEffect]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.with(|database| joins::write(database, changes))
    }
}

/// The store error for an error while the file is opened.
fn on_open(path: &Path, error: FileError) -> StoreError {
    match error {
        FileError::Failed(source) => StoreError::Unusable {
            store: name(path),
            source,
        },
        other => file_error(path, other),
    }
}

/// The store error for an error after the file is opened.
fn in_use(path: &Path, error: FileError) -> StoreError {
    match error {
        FileError::Failed(source) => StoreError::Failed {
            store: name(path),
            source,
        },
        other => file_error(path, other),
    }
}

fn file_error(path: &Path, error: FileError) -> StoreError {
    let store = name(path);
    match error {
        FileError::Failed(source) => StoreError::Failed { store, source },
        FileError::Held => StoreError::InUse { store },
        FileError::Foreign(reason) => StoreError::Foreign { store, reason },
        FileError::Damaged(reason) => StoreError::Damaged { store, reason },
        FileError::Newer(found) => StoreError::Newer {
            store,
            found,
            known: schema::VERSION,
        },
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}
