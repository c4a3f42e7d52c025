//! Which pools an operator has drained, remembered across restarts of the agent.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use pool_registry::{DrainTarget, PoolRegistry, UnknownPool};
use pool_registry_types::PoolId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The file's name in the state directory.
const FILE: &str = "drained-pools.json";

/// Why a drain did not begin or end as it should.
#[derive(Debug, Error)]
pub enum DrainError {
    /// The node has no such pool.
    #[error(transparent)]
    UnknownPool(#[from] UnknownPool),
    /// It holds now, but not after a restart.
    #[error("it holds now, but {} cannot be written, so a restart of the agent undoes it", .path.display())]
    NotRemembered {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The content of the file. Unknown fields are ignored, so that an older agent can follow a newer one.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Remembered {
    pools: BTreeSet<PoolId>,
}

/// The drained pools.
#[derive(Debug, Default)]
pub struct Drains {
    /// Held over a change and its writing, so that the file says what came last.
    remembered: Mutex<Remembered>,
    path: Option<PathBuf>,
}

impl Drains {
    /// Drains that nobody remembers.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Those remembered in `state_dir`, which must exist.
    ///
    /// # Errors
    /// When the file is there and cannot be read: taking requests for a pool that was drained would be worse than
    /// not starting.
    pub fn load(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(FILE);
        let remembered = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Remembered::default(),
            Err(error) => return Err(error),
        };
        Ok(Self {
            remembered: Mutex::new(remembered),
            path: Some(path),
        })
    }

    /// The pools that are drained, in order.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolId> {
        self.remembered.lock().pools.iter().cloned().collect()
    }

    /// Drains a pool of `registry`, or puts it back to work, and remembers it. Writes a small file. Idempotent.
    ///
    /// # Errors
    /// When there is no such pool, or the file cannot be written.
    pub fn set(&self, registry: &PoolRegistry, pool: &PoolId, draining: bool) -> Result<(), DrainError> {
        let mut remembered = self.remembered.lock();
        let target = DrainTarget::Pool(pool.clone());
        if draining {
            registry.drain(&target)?;
            remembered.pools.insert(pool.clone());
        } else {
            registry.undrain(&target)?;
            remembered.pools.remove(pool);
        }
        let Some(path) = &self.path else { return Ok(()) };
        write(path, &remembered).map_err(|source| DrainError::NotRemembered {
            path: path.clone(),
            source,
        })
    }
}

/// To a temporary name first, so that a crash leaves the old file or the new one.
fn write(path: &Path, remembered: &Remembered) -> io::Result<()> {
    let mut temporary = OsString::from(path);
    temporary.push(".tmp");
    fs::write(&temporary, serde_json::to_vec(remembered)?)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(id: &str) -> PoolId {
        PoolId::new(id).unwrap()
    }

    // spec: PROV-17
    #[test]
    fn what_is_drained_is_drained_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let registry = PoolRegistry::new(vec![pool("a"), pool("b")]);
        let drains = Drains::load(dir.path()).unwrap();
        assert_eq!(drains.pools(), []);
        for id in ["b", "a", "a"] {
            drains.set(&registry, &pool(id), true).unwrap();
        }
        assert_eq!(Drains::load(dir.path()).unwrap().pools(), [pool("a"), pool("b")]);
        drains.set(&registry, &pool("a"), false).unwrap();
        assert_eq!(Drains::load(dir.path()).unwrap().pools(), [pool("b")]);
    }

    #[test]
    fn a_pool_that_is_not_there_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let drains = Drains::load(dir.path()).unwrap();
        let registry = PoolRegistry::new(Vec::new());
        let error = drains.set(&registry, &pool("a"), true).unwrap_err();
        assert!(matches!(error, DrainError::UnknownPool(_)), "{error}");
        assert_eq!(drains.pools(), []);
    }

    #[test]
    fn a_file_that_cannot_be_read_or_written_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{\"pools\":[\"a b\"]}").unwrap();
        assert!(Drains::load(dir.path()).is_err());
        fs::remove_file(dir.path().join(FILE)).unwrap();
        let drains = Drains::load(dir.path()).unwrap();
        dir.close().unwrap();
        let registry = PoolRegistry::new(vec![pool("a")]);
        let error = drains.set(&registry, &pool("a"), true).unwrap_err();
        assert!(matches!(error, DrainError::NotRemembered { .. }), "{error}");
        assert!(registry.statuses()[0].draining, "it holds all the same");
    }
}
