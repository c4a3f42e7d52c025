//! The engines of a node as their owner holds them.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use gpu_inventory::HostResources;
use pool_registry::PoolRegistry;
use pool_registry_types::{PoolId, ReplicaId};
use service_runtime::{Shutdown, Tasks};
use thiserror::Error;
use tokio::sync::{Mutex, oneshot, watch};

use crate::{
    ChangeError, DirectoryError, EngineStatus, FreeVram, OnAgentStop, PoolFile, PoolSpec,
    adoption::{self, Found, Survivor, in_directory},
    core::stop_limit,
    cpu_share::CpuShare,
    engine::{Begin, EngineHandle, Wish, supervise},
    handoffs::Handoffs,
    logs, replace,
    running::Running,
    shared::Shared,
    status::Board,
    vram::Vram,
};

/// Where things are. The directories are made when they do not exist.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where engines are announced.
    pub runtime_dir: PathBuf,
    /// Where the processes that run are remembered.
    pub record_dir: PathBuf,
    /// Where engines write their logs.
    pub log_dir: PathBuf,
}

impl Config {
    /// Announces in `runtime_dir`; remembers and logs below `state_dir`.
    #[must_use]
    pub fn new(runtime_dir: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        let state_dir = state_dir.into();
        Self {
            runtime_dir: runtime_dir.into(),
            record_dir: state_dir.join("engines"),
            log_dir: state_dir.join("engine-logs"),
        }
    }
}

/// What an earlier life of the agent left behind has been looked at; nothing was started yet.
#[derive(Debug)]
pub struct Prepared {
    config: Config,
    file: PoolFile,
    handoffs: Handoffs,
    found: Found,
}

/// The node has no such pool in its pool file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the pool file has no pool {0}")]
pub struct UnknownPool(pub PoolId);

impl Prepared {
    /// Finds the engines that still run, and removes the handoffs of those that do not. To be
    /// called before anybody reads handoffs.
    ///
    /// # Errors
    /// When a directory cannot be used.
    pub fn new(config: Config, file: PoolFile) -> Result<Self, DirectoryError> {
        in_directory(&config.log_dir, state_file::create_directory)?;
        let handoffs = Handoffs::new(config.runtime_dir.clone());
        let found = adoption::look(&file, &handoffs, &config.runtime_dir, &config.record_dir)?;
        Ok(Self {
            config,
            file,
            handoffs,
            found,
        })
    }

    /// Starts every engine, or adopts it. `registry` says when an engine that is to be stopped has
    /// no more requests, so something must tell it of the handoffs; `free_vram` says how much
    /// memory there is.
    ///
    /// After `shutdown` nobody supervises the engines any more, and they go on: see
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
        let shared = Arc::new(Shared {
            handoffs: self.handoffs,
            record_dir: self.config.record_dir,
            log_dir: self.config.log_dir,
            board: Board::new(registry.clone()),
            registry,
            vram: Vram::new(free_vram),
            cpu: CpuShare::new(HostResources::detect().cpu_cores, &self.file.pools),
        });
        tasks.spawn("engine-logs", rotate_logs(shared.clone(), shutdown.clone()));
        let crew = Crew {
            shared,
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
            stopping: Shutdown::new(),
        };
        let (mut ours, mut asleep) = (self.found.ours, self.found.asleep);
        for survivor in self.found.unwanted {
            let spec =
                (self.file.pools.iter()).find(|spec| spec.pool_id == survivor.record.pool_id);
            crew.end(survivor, spec);
        }
        let mut pools = BTreeMap::new();
        for spec in self.file.pools {
            let spec = Arc::new(spec);
            let replicas = spec.replica_ids().map(|replica_id| {
                let name = (spec.pool_id.clone(), replica_id.clone());
                let begin = match (ours.remove(&name), asleep.remove(&name)) {
                    (Some(survivor), _) => Begin::Adopt(Box::new(crew.adopt(survivor))),
                    (None, Some(promise)) => Begin::Asleep(Box::new(promise)),
                    (None, None) => Begin::Start,
                };
                (replica_id.clone(), crew.supervise(&spec, replica_id, begin))
            });
            let replicas = replicas.collect();
            pools.insert(
                spec.pool_id.clone(),
                Arc::new(Mutex::new(Pool { spec, replicas })),
            );
        }
        Provisioner {
            crew: Arc::new(crew),
            pools: Arc::new(pools),
        }
    }
}

async fn rotate_logs(shared: Arc<Shared>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(logs::LOOK_EVERY) => {}
        }
        let dir = shared.log_dir.clone();
        let rotation = tokio::task::spawn_blocking(move || {
            logs::rotate_full(&dir, logs::MAX_BYTES, logs::KEPT)
        })
        .await;
        if let Ok(Err(error)) = rotation {
            let dir = shared.log_dir.display();
            tracing::warn!(%dir, %error, "cannot rotate the logs of engines; make room or correct the directory");
        }
    }
}

/// A pool and its engines.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) spec: Arc<PoolSpec>,
    pub(crate) replicas: BTreeMap<ReplicaId, EngineHandle>,
}

/// Who starts and ends engines.
#[derive(Debug)]
pub(crate) struct Crew {
    pub(crate) shared: Arc<Shared>,
    tasks: Tasks,
    shutdown: Shutdown,
    /// Requested when all engines are to be stopped.
    pub(crate) stopping: Shutdown,
}

impl Crew {
    pub(crate) fn supervise(
        &self,
        spec: &Arc<PoolSpec>,
        replica_id: ReplicaId,
        begin: Begin,
    ) -> EngineHandle {
        let (tasks, shutdown) = (&self.tasks, self.shutdown.clone());
        supervise(
            &self.shared,
            spec.clone(),
            replica_id,
            begin,
            tasks,
            shutdown,
        )
    }

    fn adopt(&self, survivor: Survivor) -> Running {
        let Survivor {
            file,
            record,
            process,
        } = survivor;
        tracing::info!(
            pool_id = %record.pool_id, replica_id = %record.replica_id, pid = process.pid, url = %record.url,
            "Engine of an earlier agent adopted"
        );
        Running::adopt(&self.shared, file, record, process)
    }

    /// Ends an engine of an earlier agent that nobody wants any more, in order.
    fn end(&self, survivor: Survivor, spec: Option<&PoolSpec>) {
        let Survivor {
            file,
            record,
            process,
        } = survivor;
        let (pool_id, replica_id) = (record.pool_id.clone(), record.replica_id.clone());
        tracing::info!(%pool_id, %replica_id, pid = process.pid, "Engine of an earlier agent is not wanted any more");
        let spec = spec
            .cloned()
            .unwrap_or_else(|| PoolSpec::forgotten(pool_id, record.engine.clone()));
        let running = Running::adopt(&self.shared, file, record, process);
        // Nobody holds on to it.
        drop(self.supervise(&Arc::new(spec), replica_id, Begin::Adopt(Box::new(running))));
    }
}

/// The engines of this node. Clones share them.
#[derive(Debug, Clone)]
pub struct Provisioner {
    crew: Arc<Crew>,
    pools: Arc<BTreeMap<PoolId, Arc<Mutex<Pool>>>>,
}

impl Provisioner {
    /// Every engine, now and whenever one changes, in order of pool and replica.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Arc<[EngineStatus]>> {
        self.crew.shared.board.subscribe()
    }

    /// Restarts the engines of a pool, one after the other, each after its requests have ended, the
    /// next when it takes requests again. Those that were given up begin afresh, and those that
    /// sleep are left alone. Goes on when it is dropped.
    ///
    /// # Errors
    /// When the pool file has no such pool, an engine does not come back, or all engines are being
    /// stopped.
    pub async fn restart(&self, pool_id: &PoolId) -> Result<(), ChangeError> {
        let (crew, pool) = (self.crew.clone(), self.pool(pool_id)?.clone());
        self.change(async move { replace::restart(&crew, &mut *pool.lock().await).await })
            .await
    }

    /// Puts engines of `spec` in the place of its pool's, one after the other. Where memory and
    /// ports allow, each new engine is ready before the old one gets no more requests;
    /// otherwise the old one is stopped first. Goes on when it is dropped.
    ///
    /// # Errors
    /// When the pool file has no such pool, all engines are being stopped, or a new engine does not
    /// become ready; then the pool is as before.
    pub async fn reload(&self, spec: PoolSpec) -> Result<(), ChangeError> {
        let (crew, pool) = (self.crew.clone(), self.pool(&spec.pool_id)?.clone());
        let spec = Arc::new(spec);
        self.change(async move { replace::reload(&crew, &mut *pool.lock().await, spec).await })
            .await
    }

    /// In a task of its own: half a change is worse than none, and whoever asked may go away.
    async fn change(
        &self,
        change: impl Future<Output = Result<(), ChangeError>> + Send + 'static,
    ) -> Result<(), ChangeError> {
        let (done, result) = oneshot::channel();
        let shutdown = self.crew.shutdown.clone();
        self.crew.tasks.spawn("pool-change", async move {
            tokio::select! {
                biased;
                () = shutdown.requested() => {}
                result = change => drop(done.send(result)),
            }
        });
        result.await.unwrap_or(Err(ChangeError::Stopping))
    }

    /// How long [`stop_all`](Self::stop_all) may take at most.
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

    /// Stops every engine but those that are to be left running, and returns when they have ended,
    /// or do not end within the times their pools give them. Restarts and reloads that are
    /// under way are broken off.
    ///
    /// Those that run on or sleep are supervised until the shutdown, also when this is dropped
    /// before it.
    pub async fn stop_all(&self) {
        self.crew.stopping.request();
        // An engine that nobody holds is stopped, and one that sleeps is forgotten.
        let (held, shutdown) = (self.pools.clone(), self.crew.shutdown.clone());
        self.crew.tasks.spawn("engines-held", async move {
            shutdown.requested().await;
            drop(held);
        });
        let mut left = Vec::new();
        let limit = self.stop_limit().await;
        for (pool_id, pool) in self.pools.iter() {
            let pool = pool.lock().await;
            if pool.spec.on_agent_stop == OnAgentStop::Leave {
                left.push(pool_id.clone());
                continue;
            }
            // Those that sleep have nothing to end, and are to sleep on after a restart.
            let wishes = (pool.replicas.values())
                .filter(|engine| !engine.sleeps())
                .map(|engine| engine.wish(Wish::Stop));
            futures_util::future::join_all(wishes).await;
        }
        let stopped = |rows: &Arc<[EngineStatus]>| {
            (rows.iter()).all(|row| row.phase.is_at_rest() || left.contains(&row.pool_id))
        };
        let mut rows = self.status();
        if tokio::time::timeout(limit, rows.wait_for(stopped))
            .await
            .is_err()
        {
            tracing::warn!(
                "engines do not end, not even by SIGKILL; look for processes that hang in a driver"
            );
        }
    }

    fn pool(&self, pool_id: &PoolId) -> Result<&Arc<Mutex<Pool>>, UnknownPool> {
        (self.pools.get(pool_id)).ok_or_else(|| UnknownPool(pool_id.clone()))
    }
}
