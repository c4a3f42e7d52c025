//! The pools of a machine, from its handoff files. Engines are probed, and free VRAM is read.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use engine_probe::{AbandonedRequests, Prober};
use gpu_inventory::Inventory;
use handoff_watcher::{DEFAULT_POLL_INTERVAL, HandoffEvent, HandoffWatcher};
use parking_lot::Mutex;
use pool_registry::{DrainTarget, PoolRegistry, UnknownTarget};
use pool_registry_types::{Capabilities, GpuStatus, PoolId, PoolStatus};
use prometheus_client::registry::Registry;
use service_runtime::{Latch, Shutdown, Tasks};
use tokio::sync::watch;

use crate::{
    handoff_applier::HandoffApplier,
    handoff_filter::HandoffFilter,
    handoff_merge::Source,
    handoff_metrics::HandoffMetrics,
    scan::{EngineScan, ScanConfig},
};

/// What to watch, and how.
#[derive(Debug, Clone)]
pub struct WatchConfig {
    /// The directory of handoff files of the starters of engines; it need not exist yet. They are
    /// trusted at once.
    pub runtime_dir: PathBuf,
    /// The directory of handoff files that survive a restart of the machine, if there is one. Their
    /// engines are ready after their first good probe.
    pub engines_dir: Option<PathBuf>,
    /// How this machine is searched for engines; `None` when it is not.
    pub scan: Option<ScanConfig>,
    /// How often all files are checked, in case an event was lost.
    pub watch_interval: Duration,
    /// Pools that are shown before they have an engine.
    pub pools: Vec<PoolId>,
    /// The pool that is shown while there is no other.
    pub placeholder: Option<PoolId>,
    /// The only pools that may have engines; `None` when any may.
    pub only_pools: Option<Vec<PoolId>>,
    /// What takes no requests from the start. Its pools are shown like `pools`.
    pub drained: Vec<DrainTarget>,
    /// Where this process listens. A handoff whose URL leads there is refused: its requests would
    /// come back to this process.
    pub own_addresses: Vec<SocketAddr>,
}

impl WatchConfig {
    /// `runtime_dir` with the watcher's default interval and no pools.
    #[must_use]
    pub fn new(runtime_dir: impl Into<PathBuf>) -> Self {
        Self {
            runtime_dir: runtime_dir.into(),
            engines_dir: None,
            scan: None,
            watch_interval: DEFAULT_POLL_INTERVAL,
            pools: Vec::new(),
            placeholder: None,
            only_pools: None,
            drained: Vec::new(),
            own_addresses: Vec::new(),
        }
    }
}

/// This machine as a node. Clones are cheap and share it; dropping the last one stops the
/// watchers.
#[derive(Clone)]
pub struct LocalNode {
    registry: PoolRegistry,
    inventory: Arc<Inventory>,
    /// As of the last report.
    gpus: watch::Sender<Arc<[GpuStatus]>>,
    abandoned_requests: AbandonedRequests,
    handoffs: HandoffMetrics,
    /// How many directories have not been read yet.
    scanned: watch::Receiver<usize>,
    _watchers: Arc<[HandoffWatcher]>,
}

impl std::fmt::Debug for LocalNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalNode")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl LocalNode {
    /// Watches the directories and probes the announced engines, until `shutdown` is requested.
    ///
    /// # Errors
    /// When the watcher's thread cannot be started.
    pub fn start(config: WatchConfig, tasks: &Tasks, shutdown: &Shutdown) -> io::Result<Self> {
        let registry = registry(config.pools, config.placeholder, config.drained);
        let filter = Arc::new(HandoffFilter {
            only_pools: config.only_pools,
            hostname: gpu_inventory::hostname().ok(),
            own_addresses: config.own_addresses,
        });
        let handoffs = HandoffMetrics::new();
        let applier = Arc::new(Mutex::new(HandoffApplier::new(registry.clone())));
        let mut directories = vec![(Source::Runtime, config.runtime_dir)];
        directories.extend(config.engines_dir.map(|dir| (Source::Persistent, dir)));
        let (first_scans, scanned) = watch::channel(directories.len());
        let watchers = directories.into_iter().map(|(source, dir)| {
            let (filter, metrics) = (Arc::clone(&filter), handoffs.clone());
            let (applier, first_scans) = (Arc::clone(&applier), first_scans.clone());
            HandoffWatcher::builder(dir)
                .poll_interval(config.watch_interval)
                .filter(move |handoff| filter.check(handoff))
                .start(move |event| {
                    metrics.count(&event);
                    match event {
                        HandoffEvent::Scanned => first_scans.send_modify(|left| *left -= 1),
                        event => applier.lock().apply(source, event),
                    }
                })
        });
        let watchers = watchers.collect::<io::Result<Vec<_>>>()?;
        if let Some(scan) = config.scan {
            let scan = EngineScan::new(scan, filter, applier);
            tasks.spawn("engine-scan", scan.run(shutdown.clone()));
        }
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
            _watchers: watchers.into(),
        })
    }

    /// Adds its metrics to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.handoffs.register(registry);
    }

    /// Holds `latch` until every handoff that existed at the start is known. While the directory
    /// cannot be listed, the latch stays held.
    pub fn hold_until_scanned(&self, latch: Latch, tasks: &Tasks, shutdown: Shutdown) {
        let mut scanned = self.scanned.clone();
        tasks.spawn("first-scan", async move {
            tokio::select! {
                () = shutdown.requested() => {}
                // An error means that the watcher is gone, so there is nothing to wait for.
                _ = scanned.wait_for(|left| *left == 0) => latch.release(),
            }
        });
    }

    /// How many directories have not been read yet. At 0 every handoff that existed at the start is
    /// known.
    pub(crate) fn scanned(&self) -> watch::Receiver<usize> {
        self.scanned.clone()
    }

    /// Its pools.
    #[must_use]
    pub fn registry(&self) -> &PoolRegistry {
        &self.registry
    }

    /// Keeps the slots of abandoned requests until their engines have stopped.
    #[must_use]
    pub fn abandoned_requests(&self) -> &AbandonedRequests {
        &self.abandoned_requests
    }

    /// Its hardware. Asks the driver, and blocks for up to its time limit.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.inventory.capabilities()
    }

    /// Free VRAM in bytes of the devices that `mask` names; `None` when it is not known. Asks the
    /// driver, and blocks for up to its time limit.
    #[must_use]
    pub fn vram_free_for(&self, mask: Option<&str>) -> Option<u64> {
        self.inventory.read().known_vram_free_for(mask)
    }

    /// Its GPUs as of the last [`report`](Self::report); empty before the first.
    #[must_use]
    pub fn gpus(&self) -> watch::Receiver<Arc<[GpuStatus]>> {
        self.gpus.subscribe()
    }

    /// Its pools and GPUs for a heartbeat, from one reading of the GPUs. Asks the driver, and
    /// blocks for up to its time limit.
    pub fn report(&self) -> (Vec<PoolStatus>, Vec<GpuStatus>) {
        let gpus = self.inventory.read();
        for pool in self.registry.statuses() {
            // Warnings about its device mask carry the pool.
            let _entered = tracing::info_span!("vram", pool_id = %pool.pool_id).entered();
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

/// Applies drains before any handoff is read, so that no request is accepted in between.
fn registry(
    mut pools: Vec<PoolId>,
    placeholder: Option<PoolId>,
    drained: Vec<DrainTarget>,
) -> PoolRegistry {
    pools.extend(drained.iter().filter_map(|target| match target {
        DrainTarget::Node => None,
        DrainTarget::Pool(pool) | DrainTarget::Replica(pool, _) => Some(pool.clone()),
    }));
    let registry = PoolRegistry::new(pools).with_placeholder(placeholder);
    for target in drained {
        match target {
            DrainTarget::Replica(pool, replica) => registry.drain_in_advance(&pool, replica),
            // These targets exist: their pools were added above.
            target => drop::<Result<(), UnknownTarget>>(registry.drain(&target)),
        }
    }
    registry
}
