//! The engines of a node: prepare, start, restart, reload and stop.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use gpu_inventory::HostResources;
use pool_registry::PoolRegistry;
use pool_registry_types::PoolId;
use service_runtime::{Shutdown, Tasks};
use tokio::sync::{Mutex, oneshot, watch};

use crate::{
    adoption::{self, PreviousEngines},
    context::Context,
    core::stop_limit,
    cpu_share::CpuShare,
    engine::EngineStart,
    engine_handle::EngineCommand,
    error::{ChangeError, DirectoryError, UnknownPool, in_directory},
    handoff_directory::HandoffDirectory,
    logs,
    pool_file::PoolFile,
    rollout,
    spec::{OnAgentStop, PoolSpec},
    status::{EngineStatus, StatusBoard},
    supervisor::{ManagedPool, Supervisor},
    vram_ledger::{FreeVram, VramLedger},
};

/// The directories of a provisioner. They are created when they do not exist.
#[derive(Debug, Clone)]
pub struct ProvisionerConfig {
    /// For handoff files.
    pub runtime_dir: PathBuf,
    /// For the records of running processes.
    pub record_dir: PathBuf,
    /// For the logs of engines.
    pub log_dir: PathBuf,
    /// Variables of this process that no engine inherits, because they hold its secrets.
    pub withheld_variables: Vec<String>,
}

impl ProvisionerConfig {
    /// Handoffs in `runtime_dir`, records and logs below `state_dir`.
    #[must_use]
    pub fn new(runtime_dir: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        let state_dir = state_dir.into();
        Self {
            runtime_dir: runtime_dir.into(),
            record_dir: state_dir.join("engines"),
            log_dir: state_dir.join("engine-logs"),
            withheld_variables: Vec::new(),
        }
    }

    /// Sets the variables of this process that no engine inherits.
    #[must_use]
    pub fn with_withheld_variables(self, names: Vec<String>) -> Self {
        Self {
            withheld_variables: names,
            ..self
        }
    }
}

/// A provisioner that has found the engines of an earlier agent and started none.
#[derive(Debug)]
pub struct Prepared {
    config: ProvisionerConfig,
    file: PoolFile,
    handoffs: HandoffDirectory,
    previous: PreviousEngines,
}

impl Prepared {
    /// Finds engines that still run, and removes the handoffs of engines that do not. Call it
    /// before handoffs are read.
    ///
    /// # Errors
    /// When a directory cannot be used.
    pub fn new(config: ProvisionerConfig, file: PoolFile) -> Result<Self, DirectoryError> {
        in_directory(&config.log_dir, state_file::create_directory)?;
        let handoffs = HandoffDirectory::new(config.runtime_dir.clone());
        let previous =
            adoption::find_previous(&file, &handoffs, &config.runtime_dir, &config.record_dir)?;
        Ok(Self {
            config,
            file,
            handoffs,
            previous,
        })
    }

    /// Starts or adopts every engine. `registry` must be kept up to date with the handoffs: it
    /// tells when an engine that stops has no more requests. `free_vram` returns the free memory.
    ///
    /// After `shutdown` the engines are no longer supervised, but continue to run; see
    /// [`stop_all`](Provisioner::stop_all).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(
        self,
        registry: PoolRegistry,
        free_vram: Arc<FreeVram>,
        tasks: &Tasks,
        shutdown: &Shutdown,
    ) -> Provisioner {
        let context = Arc::new(Context {
            handoffs: self.handoffs,
            record_dir: self.config.record_dir,
            log_dir: self.config.log_dir,
            withheld_variables: self.config.withheld_variables,
            board: StatusBoard::new(registry.clone()),
            registry,
            vram: VramLedger::new(free_vram),
            cpu: CpuShare::new(HostResources::detect().cpu_cores, &self.file.pools),
        });
        let rotation = rotate_logs(context.clone(), shutdown.clone());
        tasks.spawn("engine-logs", rotation);
        let supervisor = Supervisor {
            context,
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
            stopping: Shutdown::new(),
        };
        let PreviousEngines {
            mut adoptable,
            unwanted,
            mut scaled_to_zero,
        } = self.previous;
        for engine in unwanted {
            let mut specs = self.file.pools.iter();
            let spec = specs.find(|spec| spec.pool_id == engine.record.pool_id);
            supervisor.stop_unwanted(engine, spec);
        }
        let mut pools = BTreeMap::new();
        for spec in self.file.pools {
            let spec = Arc::new(spec);
            let replicas = spec.replica_ids().map(|replica_id| {
                let name = (spec.pool_id.clone(), replica_id.clone());
                let start = match (adoptable.remove(&name), scaled_to_zero.remove(&name)) {
                    (Some(engine), _) => EngineStart::Adopt(Box::new(supervisor.adopt(engine))),
                    (None, Some(offer)) => EngineStart::ScaledToZero(Box::new(offer)),
                    (None, None) => EngineStart::Start,
                };
                let engine = supervisor.supervise(&spec, replica_id.clone(), start);
                (replica_id, engine)
            });
            let replicas = replicas.collect();
            let pool_id = spec.pool_id.clone();
            pools.insert(
                pool_id,
                Arc::new(Mutex::new(ManagedPool { spec, replicas })),
            );
        }
        Provisioner {
            supervisor: Arc::new(supervisor),
            pools: Arc::new(pools),
        }
    }
}

async fn rotate_logs(context: Arc<Context>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(logs::ROTATION_INTERVAL) => {}
        }
        let dir = context.log_dir.clone();
        let rotation = tokio::task::spawn_blocking(move || {
            logs::rotate_full(&dir, logs::MAX_BYTES, logs::KEPT)
        })
        .await;
        if let Ok(Err(error)) = rotation {
            let dir = context.log_dir.display();
            tracing::warn!(
                %dir, %error,
                "cannot rotate the logs of engines; free disk space or correct the directory"
            );
        }
    }
}

/// The engines of this node. Clones share them.
#[derive(Debug, Clone)]
pub struct Provisioner {
    supervisor: Arc<Supervisor>,
    pools: Arc<BTreeMap<PoolId, Arc<Mutex<ManagedPool>>>>,
}

impl Provisioner {
    /// The status of every engine, in order of pool and replica.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Arc<[EngineStatus]>> {
        self.supervisor.context.board.subscribe()
    }

    /// Restarts the engines of a pool, one after the other. Each one is stopped after its requests
    /// have ended, and the next one when it takes requests again. Failed engines start afresh;
    /// engines that are scaled to zero are skipped. Continues when the future is dropped.
    ///
    /// # Errors
    /// When the pool file has no such pool, an engine does not become ready again, or all engines
    /// are being stopped.
    pub async fn restart(&self, pool_id: &PoolId) -> Result<(), ChangeError> {
        let (supervisor, pool) = (self.supervisor.clone(), self.pool(pool_id)?.clone());
        self.change(async move { rollout::restart(&supervisor, &mut *pool.lock().await).await })
            .await
    }

    /// Replaces the engines of a pool with engines of `spec`, one after the other. If memory and
    /// ports allow it, each new engine is ready before the old one stops getting requests.
    /// Otherwise the old one is stopped first. Continues when the future is dropped.
    ///
    /// # Errors
    /// When the pool file has no such pool, all engines are being stopped, or a new engine does not
    /// become ready; then the pool is as before.
    pub async fn reload(&self, spec: PoolSpec) -> Result<(), ChangeError> {
        let (supervisor, pool) = (self.supervisor.clone(), self.pool(&spec.pool_id)?.clone());
        let spec = Arc::new(spec);
        self.change(
            async move { rollout::reload(&supervisor, &mut *pool.lock().await, spec).await },
        )
        .await
    }

    /// Runs a change in a task of its own, so that it is never left half done when its caller goes
    /// away.
    async fn change(
        &self,
        change: impl Future<Output = Result<(), ChangeError>> + Send + 'static,
    ) -> Result<(), ChangeError> {
        let (done, result) = oneshot::channel();
        let shutdown = self.supervisor.shutdown.clone();
        self.supervisor.tasks.spawn("pool-change", async move {
            tokio::select! {
                biased;
                () = shutdown.requested() => {}
                result = change => drop(done.send(result)),
            }
        });
        result.await.unwrap_or(Err(ChangeError::Stopping))
    }

    /// The longest time that [`stop_all`](Self::stop_all) takes.
    pub async fn stop_limit(&self) -> Duration {
        let mut limit = Duration::ZERO;
        for pool in self.pools.values() {
            let pool = pool.lock().await;
            if pool.spec.on_agent_stop != OnAgentStop::Leave {
                limit = limit.max(stop_limit(&pool.spec));
            }
        }
        limit
    }

    /// Stops every engine except those that are configured to keep running. Returns when they have
    /// ended, or their pools' timeouts are over. Running restarts and reloads are cancelled.
    ///
    /// Engines that keep running or are scaled to zero are supervised until the shutdown, even when
    /// this handle is dropped before.
    pub async fn stop_all(&self) {
        self.supervisor.stopping.request();
        // Hold the handles until the shutdown: a dropped handle stops its engine, and forgets one
        // that is scaled to zero.
        let (pools, shutdown) = (self.pools.clone(), self.supervisor.shutdown.clone());
        self.supervisor.tasks.spawn("engines-held", async move {
            shutdown.requested().await;
            drop(pools);
        });
        let mut left = Vec::new();
        let limit = self.stop_limit().await;
        for (pool_id, pool) in self.pools.iter() {
            let pool = pool.lock().await;
            if pool.spec.on_agent_stop == OnAgentStop::Leave {
                left.push(pool_id.clone());
                continue;
            }
            // Engines that are scaled to zero stay so after a restart of the agent.
            let commands = (pool.replicas.values())
                .filter(|engine| !engine.is_scaled_to_zero())
                .map(|engine| engine.send(EngineCommand::Stop));
            futures_util::future::join_all(commands).await;
        }
        let stopped = |rows: &Arc<[EngineStatus]>| {
            (rows.iter()).all(|row| row.phase.is_at_rest() || left.contains(&row.pool_id))
        };
        let mut rows = self.status();
        let waited = tokio::time::timeout(limit, rows.wait_for(stopped)).await;
        if waited.is_err() {
            tracing::warn!(
                "engines do not end, not even by SIGKILL; look for processes that hang in a driver"
            );
        }
    }

    fn pool(&self, pool_id: &PoolId) -> Result<&Arc<Mutex<ManagedPool>>, UnknownPool> {
        (self.pools.get(pool_id)).ok_or_else(|| UnknownPool(pool_id.clone()))
    }
}
