//! A whole node, and in which order it is built.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use engine_provisioner::{DirectoryError, Prepared, Provisioner};
use http_server::Routes;
use node_api::{
    DataPathConfig, Dispatcher, Drains, EngineControl, Gpus, LocalControl, NodeMetrics,
};
use pool_registry::PoolRegistry;
use pool_registry_types::PoolId;
use prometheus_client::registry::Registry;
use service_runtime::{Latch, Shutdown, Tasks};
use state_file::{DirectoryLock, InUse, StateFileError, lock_directory};
use stream_proxy::StreamProxy;
use thiserror::Error;
use tokio::sync::watch;

use crate::{LocalNode, PoolFileAt, WatchConfig, engines::PoolFileEngines};

/// Where a node remembers drains, and the engines that it has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateDir {
    /// There, or it does not start.
    Required(PathBuf),
    /// There where that is possible. Otherwise drains are forgotten with the process, which is a
    /// warning. The engines of a pool file need it all the same: one that nobody remembers
    /// would be started twice.
    Optional(PathBuf),
}

impl StateDir {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Required(path) | Self::Optional(path) => path,
        }
    }
}

/// What a node is to be.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// What it watches. Drains are taken from the state directory.
    pub watch: WatchConfig,
    /// What it remembers across restarts.
    pub state_dir: StateDir,
    /// The engines that it starts; `None` when others start them.
    pub engines: Option<PoolFileAt>,
    /// How requests go to engines.
    pub data_path: DataPathConfig,
}

/// Why a node cannot be built.
#[derive(Debug, Error)]
pub enum NodeError {
    /// Another process has one of its directories.
    #[error(transparent)]
    InUse(#[from] InUse),
    /// Its state directory cannot be made.
    #[error("cannot make the state directory {}", .dir.display())]
    StateDirectory {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What is drained cannot be read.
    #[error("read the drained pools")]
    Drains(#[source] StateFileError),
    /// A directory of the pool file's engines cannot be used.
    #[error("prepare the engines of the pool file")]
    Engines(#[source] DirectoryError),
    /// The watcher's thread cannot be started.
    #[error("start the handoff watcher")]
    Watcher(#[source] std::io::Error),
}

/// A node: its pools, its engines, the way to them, and what operators can do to them.
pub struct Node {
    /// `None` for one that watches nothing.
    local: Option<LocalNode>,
    registry: PoolRegistry,
    engines: Option<Provisioner>,
    drains: Arc<Drains>,
    changes: Option<Arc<dyn EngineControl>>,
    dispatcher: Dispatcher,
    metrics: NodeMetrics,
    /// For as long as it lives.
    _locks: Vec<DirectoryLock>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// One that watches no directory and remembers nothing: its pools have no engines.
    #[must_use]
    pub fn unwatched(pools: Vec<PoolId>, data_path: DataPathConfig, proxy: StreamProxy) -> Self {
        let registry = PoolRegistry::new(pools);
        let metrics = NodeMetrics::default();
        Self {
            local: None,
            dispatcher: Dispatcher::new(registry.clone(), proxy, data_path, None, metrics.clone()),
            registry,
            engines: None,
            drains: Arc::new(Drains::in_memory()),
            changes: None,
            metrics,
            _locks: Vec::new(),
        }
    }

    /// Takes its directories for itself, recalls what is drained, finds the engines that an earlier
    /// agent has started, and watches, until `shutdown` is requested.
    ///
    /// # Errors
    /// When another process has a directory, or one that is needed cannot be used.
    pub fn start(
        config: NodeConfig,
        proxy: StreamProxy,
        tasks: &Tasks,
        shutdown: &Shutdown,
    ) -> Result<Self, NodeError> {
        let NodeConfig {
            mut watch,
            state_dir,
            engines,
            data_path,
        } = config;
        let mut locks = Vec::new();
        locks.extend(lock_runtime_dir(&watch.runtime_dir)?);
        let (drains, lock) = recall(&state_dir, engines.is_some(), tasks, shutdown)?;
        locks.extend(lock);
        watch.drained = drains.targets();
        // Before the watcher, which would believe the handoffs of engines that are gone.
        let prepared = match engines {
            Some(PoolFileAt { path, file }) => {
                let directories =
                    engine_provisioner::Config::new(&watch.runtime_dir, state_dir.path());
                let prepared = Prepared::new(directories, file).map_err(NodeError::Engines)?;
                Some((prepared, path))
            }
            None => None,
        };
        let dir = watch.runtime_dir.clone();
        let local = LocalNode::start(watch, tasks, shutdown).map_err(NodeError::Watcher)?;
        tracing::info!(dir = %dir.display(), "Handoff watcher started");
        let registry = local.registry().clone();
        let mut changes: Option<Arc<dyn EngineControl>> = None;
        let engines = prepared.map(|(prepared, path)| {
            let memory = local.clone();
            let free_vram = Arc::new(move |mask: Option<&str>| memory.vram_free_for(mask));
            let provisioner = prepared.start(registry.clone(), free_vram, tasks, shutdown);
            changes = Some(Arc::new(PoolFileEngines {
                provisioner: provisioner.clone(),
                path,
            }));
            provisioner
        });
        let metrics = NodeMetrics::default();
        let abandoned_requests = Some(local.abandoned_requests().clone());
        Ok(Self {
            dispatcher: Dispatcher::new(
                registry.clone(),
                proxy,
                data_path,
                abandoned_requests,
                metrics.clone(),
            ),
            local: Some(local),
            registry,
            engines,
            drains: Arc::new(drains),
            changes,
            metrics,
            _locks: locks,
        })
    }

    /// What it watches; `None` for one that watches nothing.
    #[must_use]
    pub fn local(&self) -> Option<&LocalNode> {
        self.local.as_ref()
    }

    /// Its pools.
    #[must_use]
    pub fn registry(&self) -> &PoolRegistry {
        &self.registry
    }

    /// The way to its engines.
    #[must_use]
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    /// Its GPUs as they were last reported.
    #[must_use]
    pub fn gpus(&self) -> Gpus {
        self.local
            .as_ref()
            .map_or_else(|| watch::channel(Arc::default()).1, LocalNode::gpus)
    }

    /// What operators can do to it over HTTP.
    #[must_use]
    pub fn routes(&self) -> Routes {
        node_api::routes(
            self.registry.clone(),
            self.gpus(),
            Arc::clone(&self.drains),
            self.changes.clone(),
        )
    }

    /// The same for a control plane in this process.
    #[must_use]
    pub fn control(&self) -> LocalControl {
        LocalControl::new(self.routes())
    }

    /// Adds what it counts to a registry of metrics.
    pub fn register_metrics(&self, families: &mut Registry) {
        self.metrics
            .register(families, self.registry.clone(), self.gpus());
        if let Some(local) = &self.local {
            local.register_metrics(families);
        }
    }

    /// Holds `latch` until every handoff that was there at the start is known; for as long as the
    /// directory cannot be listed.
    pub fn hold_until_scanned(&self, latch: Latch, tasks: &Tasks, shutdown: Shutdown) {
        match &self.local {
            Some(local) => local.hold_until_scanned(latch, tasks, shutdown),
            None => latch.release(),
        }
    }

    /// How long [`stop_engines`](Self::stop_engines) may take at most; `None` when it starts no
    /// engines.
    pub async fn stop_limit(&self) -> Option<Duration> {
        match &self.engines {
            Some(engines) => Some(engines.stop_limit().await),
            None => None,
        }
    }

    /// Stops the engines that it started, but for those that are to be left running.
    pub async fn stop_engines(&self) {
        if let Some(engines) = &self.engines {
            engines.stop_all().await;
        }
    }
}

/// The directory is made where that is possible, so that there is something to lock. It need not
/// be: who starts engines makes it, and who may only read it locks nothing.
fn lock_runtime_dir(dir: &Path) -> Result<Option<DirectoryLock>, InUse> {
    if let Err(error) = state_file::create_directory(dir) {
        tracing::debug!(dir = %dir.display(), %error, "the runtime directory is not made");
    }
    lock_directory(dir, "node", "the node")
}

/// What operators have drained before, and the lock on where that is written.
fn recall(
    state_dir: &StateDir,
    starts_engines: bool,
    tasks: &Tasks,
    shutdown: &Shutdown,
) -> Result<(Drains, Option<DirectoryLock>), NodeError> {
    let dir = state_dir.path();
    match state_file::create_directory(dir).and_then(|()| is_writable(dir)) {
        Ok(()) => {}
        Err(error) if !starts_engines && matches!(state_dir, StateDir::Optional(_)) => {
            tracing::warn!(
                dir = %dir.display(), %error,
                "the state directory cannot be written: drained pools and replicas are forgotten when this process ends"
            );
            return Ok((Drains::in_memory(), None));
        }
        Err(source) => {
            return Err(NodeError::StateDirectory {
                dir: dir.to_owned(),
                source,
            });
        }
    }
    let lock = lock_directory(dir, "node-state", "the node")?;
    let (drains, writer) = Drains::load(dir).map_err(NodeError::Drains)?;
    let stop = shutdown.clone();
    tasks.spawn(
        "drains-writer",
        writer.run(async move { stop.requested().await }),
    );
    Ok((drains, lock))
}

/// Whether this process may make files in a directory that is there.
fn is_writable(dir: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::access(
        dir,
        rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
    )?)
}
