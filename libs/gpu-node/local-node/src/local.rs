//! Handoff files go in, pools come out: their engines are probed, their free VRAM is read.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use engine_probe::{AbandonedRequests, Prober};
use gpu_inventory::Inventory;
use handoff_watcher::{DEFAULT_POLL_INTERVAL, Event, HandoffWatcher};
use pool_registry::{DrainTarget, PoolRegistry, UnknownTarget};
use pool_registry_types::{Capabilities, GpuStatus, Handoff, PoolId, PoolStatus, ReplicaId};
use prometheus_client::registry::Registry;
use service_runtime::{Latch, Shutdown, Tasks};
use tokio::sync::watch;

use crate::{handoffs::HandoffCounts, rules};

/// What to watch.
#[derive(Debug, Clone)]
pub struct WatchConfig {
    /// Where engines announce themselves; need not exist yet.
    pub runtime_dir: PathBuf,
    /// How often the directory is read in full, in case an event was lost.
    pub watch_interval: Duration,
    /// Pools that are shown before any engine announces itself.
    pub pools: Vec<PoolId>,
    /// The only pools that may have engines; `None` when any may.
    pub only_pools: Option<Vec<PoolId>>,
    /// What takes no requests from the start. Its pools are shown like `pools`.
    pub drained: Vec<DrainTarget>,
}

impl WatchConfig {
    /// `runtime_dir` with the watcher's default interval and no pools.
    #[must_use]
    pub fn new(runtime_dir: impl Into<PathBuf>) -> Self {
        Self {
            runtime_dir: runtime_dir.into(),
            watch_interval: DEFAULT_POLL_INTERVAL,
            pools: Vec::new(),
            only_pools: None,
            drained: Vec::new(),
        }
    }
}

/// This machine as a node. Cloning is cheap and shares it; the last clone stops the watcher.
#[derive(Clone)]
pub struct LocalNode {
    registry: PoolRegistry,
    inventory: Arc<Inventory>,
    /// As they were when it last looked.
    gpus: watch::Sender<Arc<[GpuStatus]>>,
    abandoned_requests: AbandonedRequests,
    handoffs: HandoffCounts,
    scanned: watch::Receiver<bool>,
    _watcher: Arc<HandoffWatcher>,
}

impl std::fmt::Debug for LocalNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalNode")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl LocalNode {
    /// Watches the directory and probes what it announces, until `shutdown` is requested.
    ///
    /// # Errors
    /// When the watcher's thread cannot be started.
    pub fn start(config: WatchConfig, tasks: &Tasks, shutdown: &Shutdown) -> io::Result<Self> {
        let registry = registry(config.pools, config.drained);
        let watched = handoff_watcher::Config {
            poll_interval: config.watch_interval,
            ..handoff_watcher::Config::new(config.runtime_dir)
        };
        let (only, hostname) = (config.only_pools, gpu_inventory::hostname().ok());
        let rule = Box::new(move |handoff: &Handoff| {
            rules::check(handoff, only.as_deref(), hostname.as_deref())
        });
        let applied = registry.clone();
        let (first_scan, scanned) = watch::channel(false);
        let handoffs = HandoffCounts::new();
        let counts = handoffs.clone();
        let watcher = HandoffWatcher::start_with_rule(watched, Some(rule), move |event| {
            counts.count(&event);
            match event {
                Event::Scanned => drop(first_scan.send(true)),
                event => apply(&applied, event),
            }
        })?;
        tasks.spawn(
            "engine-probe",
            Prober::new(registry.clone()).run(shutdown.clone()),
        );
        let (abandoned_requests, task) = AbandonedRequests::new();
        tasks.spawn("abandoned-requests", task.run(shutdown.clone()));
        Ok(Self {
            abandoned_requests,
            handoffs,
            registry,
            scanned,
            inventory: Arc::new(Inventory::detect()),
            gpus: watch::Sender::new(Arc::default()),
            _watcher: Arc::new(watcher),
        })
    }

    /// Adds what it counts to a registry of metrics.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.handoffs.register(registry);
    }

    /// Holds `latch` until every handoff that was there at the start is known; for as long as the
    /// directory cannot be listed.
    pub fn hold_until_scanned(&self, latch: Latch, tasks: &Tasks, shutdown: Shutdown) {
        let mut scanned = self.scanned.clone();
        tasks.spawn("first-scan", async move {
            tokio::select! {
                () = shutdown.requested() => {}
                // An error says that the watcher is gone: nothing is waited for any more.
                _ = scanned.wait_for(|scanned| *scanned) => latch.release(),
            }
        });
    }

    /// Whether every handoff that was there at the start is known.
    pub(crate) fn scanned(&self) -> watch::Receiver<bool> {
        self.scanned.clone()
    }

    /// Its pools.
    #[must_use]
    pub fn registry(&self) -> &PoolRegistry {
        &self.registry
    }

    /// Who looks after slots whose requests were given up.
    #[must_use]
    pub fn abandoned_requests(&self) -> &AbandonedRequests {
        &self.abandoned_requests
    }

    /// Its hardware. Asks the driver: blocks for up to its time limit.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.inventory.capabilities()
    }

    /// Free VRAM in bytes of the devices that `mask` names; `None` when nobody knows. Asks the
    /// driver: blocks for up to its time limit.
    #[must_use]
    pub fn vram_free_for(&self, mask: Option<&str>) -> Option<u64> {
        self.inventory.read().vram_surely_free_for(mask)
    }

    /// Its GPUs as [`report`](Self::report) last saw them; none before.
    #[must_use]
    pub fn gpus(&self) -> watch::Receiver<Arc<[GpuStatus]>> {
        self.gpus.subscribe()
    }

    /// Its pools and GPUs for a heartbeat, from one look at the GPUs. Asks the driver: blocks for
    /// up to its time limit.
    pub fn report(&self) -> (Vec<PoolStatus>, Vec<GpuStatus>) {
        let gpus = self.inventory.read();
        for pool in self.registry.statuses() {
            // What is wrong with its mask is said in its name.
            let _of_pool = tracing::info_span!("vram", pool_id = %pool.pool_id).entered();
            let free = self
                .inventory
                .vram_free_in(&gpus, pool.device_mask.as_deref());
            self.registry.set_vram_free(&pool.pool_id, free);
        }
        let gpus = gpus.statuses();
        self.gpus.send_replace(gpus.as_slice().into());
        (self.registry.statuses(), gpus)
    }
}

/// Drained before any handoff is read, so that no request slips in between.
fn registry(mut pools: Vec<PoolId>, drained: Vec<DrainTarget>) -> PoolRegistry {
    pools.extend(drained.iter().filter_map(|target| match target {
        DrainTarget::Node => None,
        DrainTarget::Pool(pool) | DrainTarget::Replica(pool, _) => Some(pool.clone()),
    }));
    let registry = PoolRegistry::new(pools);
    for target in drained {
        match target {
            DrainTarget::Replica(pool, replica) => registry.drain_in_advance(&pool, replica),
            // All of them are known, since a few lines ago.
            target => drop::<Result<(), UnknownTarget>>(registry.drain(&target)),
        }
    }
    registry
}

/// What the directory says becomes what the registry knows.
fn apply(registry: &PoolRegistry, event: Event) {
    match event {
        Event::Appeared(handoff) => upsert(registry, handoff),
        Event::Changed { old, new } => {
            if (&old.pool_id, &old.replica_id) != (&new.pool_id, &new.replica_id) {
                registry.remove(&old.pool_id, &old.replica_id);
                registry.set_refused(&usual_name(&old.pool_id, &old.replica_id), None);
            }
            upsert(registry, new);
        }
        Event::Gone(handoff) => {
            let Handoff {
                pool_id,
                replica_id,
                ..
            } = handoff;
            tracing::info!(%pool_id, %replica_id, "Handoff removed, retiring the replica");
            registry.remove(&pool_id, &replica_id);
            registry.set_refused(&usual_name(&pool_id, &replica_id), None);
        }
        Event::Refused { path, reason } => {
            tracing::warn!(path = %path.display(), %reason, "Handoff refused; correct or remove the file");
            registry.set_refused(&path.to_string_lossy(), Some(&reason.to_string()));
        }
        Event::Resolved { path } => {
            tracing::info!(path = %path.display(), "Handoff is not refused any more");
            registry.set_refused(&path.to_string_lossy(), None);
        }
        Event::Scanned => {}
    }
}

fn upsert(registry: &PoolRegistry, handoff: Handoff) {
    tracing::info!(
        pool_id = %handoff.pool_id,
        replica_id = %handoff.replica_id,
        engine = %handoff.engine,
        url = %handoff.url,
        slots = handoff.slots,
        "Handoff detected, updating registry"
    );
    let (pool_id, replica_id) = (handoff.pool_id.clone(), handoff.replica_id.clone());
    let name = usual_name(&pool_id, &replica_id);
    if let Err(error) = registry.upsert(handoff) {
        tracing::warn!(%pool_id, %replica_id, %error, file = name, "Handoff refused; remove engines this node cannot carry");
        registry.set_refused(&name, Some(&error.to_string()));
    }
}

/// The file a replica is usually announced by: the watcher does not tell which one it was.
fn usual_name(pool_id: &PoolId, replica_id: &ReplicaId) -> String {
    format!("{pool_id}_{replica_id}.json")
}
