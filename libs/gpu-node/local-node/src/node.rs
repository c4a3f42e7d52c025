//! A whole node: how it is built, and what it offers.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use engine_provisioner::{DirectoryError, Prepared, Provisioner, ProvisionerConfig};
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

use crate::{
    engines::{PoolFileAt, PoolFileEngines},
    local_node::{LocalNode, WatchConfig},
};

/// The directory in which a node stores drains and the engines that it has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateDir {
    /// The node does not start without it.
    Required(PathBuf),
    /// Used if possible. Otherwise drains are lost when the process ends, and a warning is logged.
    /// The engines of a pool file require it: an engine without a record would be started twice.
    Optional(PathBuf),
}

impl StateDir {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Required(path) | Self::Optional(path) => path,
        }
    }
}

/// The configuration of a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// What it watches. Drains come from the state directory.
    pub watch: WatchConfig,
    /// Its state across restarts.
    pub state_dir: StateDir,
    /// The engines that it starts; `None` when it starts none.
    pub engines: Option<PoolFileAt>,
    /// The data path to its engines.
    pub data_path: DataPathConfig,
}

/// Why a node cannot be built.
#[derive(Debug, Error)]
pub enum NodeError {
    /// Another process uses one of its directories.
    #[error(transparent)]
    InUse(#[from] InUse),
    /// Its state directory cannot be created.
    #[error("cannot create the state directory {}", .dir.display())]
    StateDirectory {
        /// The directory.
        dir: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The stored drains cannot be read.
    #[error("read the drained pools")]
    Drains(#[source] StateFileError),
    /// A directory of the pool file's engines cannot be used.
    #[error("prepare the engines of the pool file")]
    Engines(#[source] DirectoryError),
    /// The watcher's thread cannot be started.
    #[error("start the handoff watcher")]
    Watcher(#[source] std::io::Error),
}

/// A node: its pools, its engines, their data path, and operations on them.
pub struct Node {
    /// `None` when it watches nothing.
    local: Option<LocalNode>,
    registry: PoolRegistry,
    engines: Option<Provisioner>,
    drains: Arc<Drains>,
    changes: Option<Arc<dyn EngineControl>>,
    dispatcher: Dispatcher,
    metrics: NodeMetrics,
    /// Held until the node is dropped.
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
    /// A node without a handoff directory and without stored state. Its pools have no engines.
    #[must_use]
    pub fn unwatched(
        pools: Vec<PoolId>,
        placeholder: Option<PoolId>,
        data_path: DataPathConfig,
        proxy: StreamProxy,
    ) -> Self {
        let registry = PoolRegistry::new(pools).with_placeholder(placeholder);
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

    /// Locks its directories, loads drains, adopts engines of an earlier process, and watches
    /// handoffs until `shutdown` is requested.
    ///
    /// # Errors
    /// When another process uses a directory, or a required directory cannot be used.
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
        locks.extend(lock_directory_of_handoffs(&watch.runtime_dir)?);
        if let Some(dir) = &watch.engines_dir {
            locks.extend(lock_directory_of_handoffs(dir)?);
        }
        let (drains, lock) = load_drains(&state_dir, engines.is_some(), tasks, shutdown)?;
        locks.extend(lock);
        watch.drained = drains.targets();
        // Before the watcher starts: this removes handoffs of engines that are gone.
        let prepared = match engines {
            Some(engines) => {
                let PoolFileAt {
                    path,
                    file,
                    withheld_variables,
                } = engines;
                let config = ProvisionerConfig::new(&watch.runtime_dir, state_dir.path())
                    .with_withheld_variables(withheld_variables);
                let prepared = Prepared::new(config, file).map_err(NodeError::Engines)?;
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

    /// Its pools and hardware; `None` when it watches nothing.
    #[must_use]
    pub fn local(&self) -> Option<&LocalNode> {
        self.local.as_ref()
    }

    /// Its pools.
    #[must_use]
    pub fn registry(&self) -> &PoolRegistry {
        &self.registry
    }

    /// The data path to its engines.
    #[must_use]
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    /// Its GPUs as of the last report.
    #[must_use]
    pub fn gpus(&self) -> Gpus {
        self.local
            .as_ref()
            .map_or_else(|| watch::channel(Arc::default()).1, LocalNode::gpus)
    }

    /// Its control API over HTTP.
    #[must_use]
    pub fn routes(&self) -> Routes {
        node_api::routes(
            self.registry.clone(),
            self.gpus(),
            Arc::clone(&self.drains),
            self.changes.clone(),
        )
    }

    /// Its control API for a control plane in this process.
    #[must_use]
    pub fn control(&self) -> LocalControl {
        LocalControl::new(self.routes())
    }

    /// Adds its metrics to a registry.
    pub fn register_metrics(&self, families: &mut Registry) {
        self.metrics
            .register(families, self.registry.clone(), self.gpus());
        if let Some(local) = &self.local {
            local.register_metrics(families);
        }
    }

    /// Holds `latch` until every handoff that existed at the start is known. While the directory
    /// cannot be listed, the latch stays held.
    pub fn hold_until_scanned(&self, latch: Latch, tasks: &Tasks, shutdown: Shutdown) {
        match &self.local {
            Some(local) => local.hold_until_scanned(latch, tasks, shutdown),
            None => latch.release(),
        }
    }

    /// The longest time that [`stop_engines`](Self::stop_engines) takes; `None` when it starts no
    /// engines.
    pub async fn stop_limit(&self) -> Option<Duration> {
        match &self.engines {
            Some(engines) => Some(engines.stop_limit().await),
            None => None,
        }
    }

    /// Stops the engines that it started, except those that are configured to keep running.
    pub async fn stop_engines(&self) {
        if let Some(engines) = &self.engines {
            engines.stop_all().await;
        }
    }
}

/// Creates the directory if possible, and locks it. A directory that cannot be created or written
/// is not locked: the starter of engines may create it later.
fn lock_directory_of_handoffs(dir: &Path) -> Result<Option<DirectoryLock>, InUse> {
    if let Err(error) = state_file::create_directory(dir) {
        tracing::debug!(dir = %dir.display(), %error, "cannot create the handoff directory");
    }
    lock_directory(dir, "node", "the node")
}

/// Loads the stored drains and locks their directory.
fn load_drains(
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
                "cannot write the state directory, so drained pools and replicas are lost when \
                 this process ends"
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

/// Whether this process may create files in an existing directory.
fn is_writable(dir: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::access(
        dir,
        rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
    )?)
}
