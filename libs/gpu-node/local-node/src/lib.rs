//! The node libraries wired as one.
//!
//! Handoff files go in (`handoff-watcher`), pools come out (`pool-registry`): their engines are probed
//! (`engine-probe`), their free VRAM is read (`gpu-inventory`). `pool-managerd` puts this behind HTTP and a
//! registration; `orchestratord` in the HOME profile puts it behind the data path in the same process.

mod handoffs;
mod rules;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use engine_probe::Prober;
pub use engine_probe::{Aftercare, Visit};
use event_log::{EventLog, PoolChanges};
use gpu_inventory::Inventory;
use handoff_watcher::{DEFAULT_POLL_INTERVAL, Event, HandoffWatcher};
use pool_registry::{DrainTarget, PoolRegistry, UnknownTarget};
use pool_registry_types::{
    Capabilities, GpuStatus, Handoff, NodeId, PoolId, PoolStatus, ReplicaId, limits::Limit,
};
use prometheus_client::registry::Registry;
use routing_table::RoutingTable;
use service_runtime::{Latch, Shutdown, Tasks};
use tokio::sync::watch;

use handoffs::HandoffCounts;

/// How often free VRAM is read for the routing table: it moves with models that come and go, not with requests.
const VRAM_INTERVAL: Duration = Duration::from_secs(5);

/// What to watch.
#[derive(Debug, Clone)]
pub struct Config {
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

impl Config {
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
    aftercare: Aftercare,
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
    pub fn start(config: Config, tasks: &Tasks, shutdown: &Shutdown) -> io::Result<Self> {
        let registry = registry(config.pools, config.drained);
        let watched = handoff_watcher::Config {
            poll_interval: config.watch_interval,
            ..handoff_watcher::Config::new(config.runtime_dir)
        };
        let (only, hostname) = (config.only_pools, gpu_inventory::hostname().ok());
        let rule =
            Box::new(move |handoff: &Handoff| rules::check(handoff, only.as_deref(), hostname.as_deref()));
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
        let (aftercare, task) = Aftercare::new();
        tasks.spawn("aftercare", task.run(shutdown.clone()));
        Ok(Self {
            aftercare,
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

    /// Holds `latch` until every handoff that was there at the start is known; for as long as the directory cannot be
    /// listed.
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

    /// Its pools.
    #[must_use]
    pub fn registry(&self) -> &PoolRegistry {
        &self.registry
    }

    /// Who looks after slots whose requests were given up.
    #[must_use]
    pub fn aftercare(&self) -> &Aftercare {
        &self.aftercare
    }

    /// Its hardware. Asks the driver: blocks for up to its time limit.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.inventory.capabilities()
    }

    /// Free VRAM in bytes of the devices that `mask` names; `None` when nobody knows. Asks the driver: blocks for up
    /// to its time limit.
    #[must_use]
    pub fn vram_free_for(&self, mask: Option<&str>) -> Option<u64> {
        self.inventory.read().vram_surely_free_for(mask)
    }

    /// Its GPUs as [`report`](Self::report) last saw them; none before.
    #[must_use]
    pub fn gpus(&self) -> watch::Receiver<Arc<[GpuStatus]>> {
        self.gpus.subscribe()
    }

    /// Its pools and GPUs for a heartbeat, from one look at the GPUs. Asks the driver: blocks for up to its time limit.
    pub fn report(&self) -> (Vec<PoolStatus>, Vec<GpuStatus>) {
        let gpus = self.inventory.read();
        for pool in self.registry.statuses() {
            // What is wrong with its mask is said in its name.
            let _of_pool = tracing::info_span!("vram", pool_id = %pool.pool_id).entered();
            let free = self.inventory.vram_free_in(&gpus, pool.device_mask.as_deref());
            self.registry.set_vram_free(&pool.pool_id, free);
        }
        let gpus = gpus.statuses();
        self.gpus.send_replace(gpus.as_slice().into());
        (self.registry.statuses(), gpus)
    }

    /// The routing table of this node alone, kept up to date by a task: at once when something changes, and with
    /// VRAM as it is every few seconds. Whoever calls this needs no [`report`](Self::report).
    /// What changes for people is told to `events`.
    pub fn routing_tables(
        &self,
        node_id: NodeId,
        events: EventLog,
        tasks: &Tasks,
        shutdown: Shutdown,
    ) -> watch::Receiver<Arc<RoutingTable>> {
        let node = self.clone();
        let mut changes = self.registry.subscribe();
        let mut version = 1;
        let (tables, receiver) = watch::channel(Arc::new(self.registry.routing_table(&node_id, version)));
        tasks.spawn("local-routes", async move {
            let mut vram = tokio::time::interval(VRAM_INTERVAL);
            let mut pools = PoolChanges::default();
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.requested() => return,
                    changed = changes.changed() => if changed.is_err() { return },
                    _ = vram.tick() => node.clone().refresh_vram().await,
                }
                version += 1;
                for news in pools.reported(&node_id, &node.registry.statuses()) {
                    events.tell(news);
                }
                tables.send_replace(Arc::new(node.registry.routing_table(&node_id, version)));
            }
        });
        receiver
    }

    /// Asks the driver off the async threads.
    async fn refresh_vram(self) {
        let span = tracing::Span::current();
        let reading = tokio::task::spawn_blocking(move || span.in_scope(|| self.report()));
        if let Err(error) = reading.await {
            tracing::error!(%error, "the GPUs cannot be read");
        }
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
            DrainTarget::Replica(pool, replica) => registry.drain_before(&pool, replica),
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
                pool_id, replica_id, ..
            } = handoff;
            tracing::info!(%pool_id, %replica_id, "Handoff removed, retiring the replica");
            registry.remove(&pool_id, &replica_id);
            registry.set_refused(&usual_name(&pool_id, &replica_id), None);
        }
        Event::Refused { path, reason } => {
            tracing::warn!(path = %path.display(), %reason, "Handoff refused; mend or remove the file");
            registry.set_refused(&path.to_string_lossy(), Some(&reason.to_string()));
        }
        Event::Mended { path } => {
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

/// The bounds of the libraries that are wired here, by crate.
pub const LIMITS: &[(&str, &[Limit])] = &[
    ("handoff-watcher", handoff_watcher::LIMITS),
    ("engine-probe", engine_probe::LIMITS),
];

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
