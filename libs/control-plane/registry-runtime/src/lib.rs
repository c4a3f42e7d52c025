//! The lock, the timer and the node probes around the pure `service-registry`.
//!
//! [`build`] takes up what a store has kept, gives four parts, and starts nothing:
//!
//! * [`RegistryHandle`], the front: clone it wherever nodes, operators or probes have something to
//!   say. Each event takes effect under a short lock: the data path has taken in what changed of
//!   endpoints when the method returns, so that the next request is routed by what an acknowledged
//!   heartbeat said.
//! * [`RegistryTask`], which wakes at the nodes' deadlines.
//! * [`Prober`], which tries to reach the nodes, each about once a second in a fleet of some
//!   hundred. It asks who answers.
//! * [`Keeper`], which writes what changed to the store, behind everybody's back.

mod config;
mod events;
mod handle;
mod heartbeat;
mod keeper;
mod kept;
mod limits;
mod log;
mod metrics;
mod probe;
mod prober;
mod schedule;
mod shared;
mod task;

pub use config::{Config, ProberConfig};
pub use handle::RegistryHandle;
pub use heartbeat::HeartbeatError;
pub use keeper::Keeper;
pub use limits::LIMITS;
pub use metrics::NodesMetrics;
pub use prober::Prober;
pub use task::RegistryTask;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use registry_store::{RegistryStore, StoreError};
use routing_table::RouteSink;
use service_registry::Registry;
use tokio::{sync::watch, time::Instant};

use kept::Kept;
use shared::Shared;

/// What [`build`] gives.
#[derive(Debug)]
pub struct Parts {
    /// The front.
    pub handle: RegistryHandle,
    /// To be run by a task of its own.
    pub task: RegistryTask,
    /// To be run by a task of its own; `None` when switched off.
    pub prober: Option<Prober>,
    /// To be run by a task of its own, that ends after the registry's task, when the last change
    /// is kept.
    pub keeper: Keeper,
}

/// Builds the registry and what surrounds it, with the nodes that the store knows from before.
/// `sink` learns what changes of endpoints, first of all those of these nodes. It is told under the
/// registry's lock, and must not call the registry.
///
/// Reads the store, which blocks for as long as that takes.
///
/// # Errors
/// When the store cannot be read. To go on without it would route to what operators have drained.
pub fn build(
    config: Config,
    store: Arc<dyn RegistryStore>,
    sink: Arc<dyn RouteSink>,
) -> Result<Parts, StoreError> {
    let stored = store.load()?;
    let (origin, started) = (Instant::now(), SystemTime::now());
    let (kept, known) = Kept::from_store(&stored, started);
    drop(stored);
    let mut registry = Registry::new(config.registry);
    registry.restore(known, Duration::ZERO);
    // Status changes of restored nodes are no news.
    let _ = registry.take_deltas();
    if kept.len() > 0 {
        let drained = kept.drained();
        tracing::info!(
            nodes = kept.len(),
            drained,
            "Nodes known from before; probing them"
        );
    }
    let shared = Arc::new(Shared::new(registry, sink, origin, config.prober.is_some()));
    let (turns, seen) = watch::channel(0);
    let task = RegistryTask {
        shared: Arc::clone(&shared),
        longest_sleep: config.stale_check_interval,
        turns,
    };
    let handle = RegistryHandle {
        shared: Arc::clone(&shared),
        turns: seen.clone(),
    };
    // What was restored is told, and what the store had and the registry did not take up is
    // written.
    shared.event(|_, _| ());
    Ok(Parts {
        task,
        prober: config
            .prober
            .map(|config| Prober::new(handle.clone(), config)),
        keeper: Keeper::new(shared, store, kept, seen),
        handle,
    })
}

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
