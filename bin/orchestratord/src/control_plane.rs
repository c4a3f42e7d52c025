//! The registry, and the store that keeps it across restarts.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use admission::Admission;
use anyhow::Context as _;
use daemon::Daemon;
use event_log::EventLog;
use registry_runtime::RegistryHandle;
use registry_store::{
    FileStore, JoinStore, KeyStore, MemoryStore, RegistryStore, StateStore, StoreError,
};
use state_export::{CONTROL_PLANE_LOCK, finish_import};
use state_file::{DirectoryLock, lock_directory};

/// The registry that runs, and the lock on the directory of its store.
pub(crate) struct ControlPlane {
    pub(crate) registry: RegistryHandle,
    /// The store of keys.
    pub(crate) keys: Arc<dyn KeyStore>,
    /// The store of join tokens.
    pub(crate) joins: Arc<dyn JoinStore>,
    /// The store of everything.
    pub(crate) state: Arc<dyn StateStore>,
    /// The directory of its store; `None` when drains are lost with the process.
    pub(crate) directory: Option<PathBuf>,
    _lock: Option<DirectoryLock>,
}

/// The directory of the registry's store.
#[derive(Debug)]
pub(crate) enum StoreLocation {
    /// Without it nothing starts.
    Required(PathBuf),
    /// Without it drains are lost with the process, which is a warning.
    Optional(PathBuf),
}

/// A store, and the directory that it keeps locked.
struct OpenStore {
    store: Arc<dyn RegistryStore>,
    keys: Arc<dyn KeyStore>,
    joins: Arc<dyn JoinStore>,
    state: Arc<dyn StateStore>,
    directory: Option<PathBuf>,
    lock: Option<DirectoryLock>,
}

impl OpenStore {
    fn of<S: StateStore>(
        store: Arc<S>,
        directory: Option<PathBuf>,
        lock: Option<DirectoryLock>,
    ) -> Self {
        Self {
            keys: Arc::clone(&store) as Arc<dyn KeyStore>,
            joins: Arc::clone(&store) as Arc<dyn JoinStore>,
            state: Arc::clone(&store) as Arc<dyn StateStore>,
            store,
            directory,
            lock,
        }
    }
}

impl ControlPlane {
    /// Loads the store and starts the registry, which tells `admission` about endpoints and
    /// reports to `events`.
    pub(crate) fn start(
        config: registry_runtime::Config,
        location: StoreLocation,
        admission: &Admission,
        events: &EventLog,
        daemon: &Daemon,
    ) -> anyhow::Result<Self> {
        let OpenStore {
            store,
            keys,
            joins,
            state,
            directory,
            lock,
        } = open_store(location)?;
        let routes = Arc::new(admission.clone());
        let built = registry_runtime::build(config, store, routes, events.clone())?;
        let (tasks, shutdown) = (&daemon.tasks, &daemon.shutdown);
        tasks.spawn("registry", built.timer.run(shutdown.clone()));
        tasks.spawn("registry-writer", built.writer.run());
        if let Some(prober) = built.prober {
            tasks.spawn("node-probe", prober.run(shutdown.clone()));
        }
        Ok(Self {
            registry: built.handle,
            keys,
            joins,
            state,
            directory,
            _lock: lock,
        })
    }
}

fn open_store(location: StoreLocation) -> anyhow::Result<OpenStore> {
    let (dir, is_optional) = match location {
        StoreLocation::Required(dir) => (dir, false),
        StoreLocation::Optional(dir) => (dir, true),
    };
    if let Err(error) = state_file::create_directory(&dir)
        && is_optional
    {
        return Ok(in_memory(&dir, &error, None));
    }
    let (name, role) = CONTROL_PLANE_LOCK;
    let lock = lock_directory(&dir, name, role).context("see ORCHESTRATORD_STATE_DIR")?;
    finish_import(&dir).context("finish an import of all state")?;
    match FileStore::open(&dir) {
        Ok(store) => Ok(OpenStore::of(Arc::new(store), Some(dir), lock)),
        Err(error @ StoreError::Unusable { .. }) if is_optional => {
            Ok(in_memory(&dir, &error, lock))
        }
        Err(error) => Err(error.into()),
    }
}

fn in_memory(
    dir: &Path,
    error: &(dyn std::error::Error + 'static),
    lock: Option<DirectoryLock>,
) -> OpenStore {
    tracing::warn!(
        dir = %dir.display(), error,
        "the state directory cannot be used: drains and keys are lost when this process ends; see \
         ORCHESTRATORD_STATE_DIR"
    );
    OpenStore::of(Arc::new(MemoryStore::default()), None, lock)
}
