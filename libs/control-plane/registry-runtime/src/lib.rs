//! Runs the pure `service-registry`: a lock, a timer, node probes and a store around it.
//!
//! [`build`] loads a store and returns four components, and starts nothing:
//!
//! * [`RegistryHandle`] applies events of nodes, operators and probes, each under a short lock.
//!   When a method returns, the data path has the changed endpoints, so that the next request is
//!   routed by the acknowledged heartbeat.
//! * [`RegistryTimer`] wakes at the deadlines of nodes.
//! * [`Prober`] probes each node about once a second, in fleets of up to some hundred nodes. It
//!   checks the identity in the answers.
//! * [`StoreWriter`] writes changes to the store in the background. Only drains wait for it.

mod config;
mod durability;
mod event_publisher;
mod handle;
mod heartbeat;
mod limits;
mod log;
mod metrics;
mod probe;
mod prober;
mod schedule;
mod shared;
mod store_writer;
mod stored_state;
mod timer;

pub use config::{Config, ProberConfig};
pub use durability::{NotDurable, PendingWrite};
pub use handle::RegistryHandle;
pub use heartbeat::HeartbeatError;
pub use limits::LIMITS;
pub use metrics::NodesMetrics;
pub use prober::Prober;
pub use store_writer::StoreWriter;
pub use timer::RegistryTimer;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use event_log::EventLog;
use registry_store::{RegistryStore, StoreError};
use routing_table::RouteSink;
use service_registry::Registry;
use stream_proxy::StreamProxy;
use tokio::{sync::watch, time::Instant};

use durability::WriteProgress;
use shared::Shared;
use stored_state::StoredState;

/// The components of a registry. Run each but the handle as a task.
#[derive(Debug)]
pub struct RegistryParts {
    /// Applies events and reads the registry.
    pub handle: RegistryHandle,
    /// Wakes at deadlines.
    pub timer: RegistryTimer,
    /// Probes nodes; `None` when it is switched off.
    pub prober: Option<Prober>,
    /// Writes to the store. Its task ends after the timer, when the last change is written.
    pub writer: StoreWriter,
}

/// Builds a registry with the nodes of `store`, and everything around it. `sink` gets the changes
/// of endpoints, first those of the stored nodes. It is called under the lock of the registry, and
/// must not call the registry. `events` gets the changes for people.
///
/// Blocks while it reads the store.
///
/// # Errors
/// When the store cannot be read: a registry without it would route to drained nodes.
pub fn build(
    config: Config,
    store: Arc<dyn RegistryStore>,
    sink: Arc<dyn RouteSink>,
    events: EventLog,
) -> Result<RegistryParts, StoreError> {
    let nodes = store.load()?;
    let (origin, started) = (Instant::now(), SystemTime::now());
    let (stored, persisted) = StoredState::load(&nodes, started);
    drop(nodes);
    let mut registry = Registry::new(config.registry);
    registry.restore(persisted, Duration::ZERO);
    // The status of a restored node is no change.
    let _ = registry.take_deltas();
    if stored.len() > 0 {
        let drained = stored.drained();
        tracing::info!(
            nodes = stored.len(),
            drained,
            "Nodes known from before; probing them"
        );
    }
    let (progress, progress_seen) = watch::channel(WriteProgress::default());
    let has_prober = config.prober.is_some();
    let proxy = StreamProxy::with_tls(config.tls);
    let proxy = match config.addresses {
        Some(allowed) => proxy.within(allowed),
        None => proxy,
    };
    let shared = Shared::new(
        registry,
        sink,
        origin,
        events,
        has_prober,
        proxy,
        progress_seen,
    );
    let shared = Arc::new(shared);
    let (turns, turns_seen) = watch::channel(0);
    let timer = RegistryTimer {
        shared: Arc::clone(&shared),
        longest_sleep: config.stale_check_interval,
        turns,
    };
    let handle = RegistryHandle {
        shared: Arc::clone(&shared),
        turns: turns_seen.clone(),
    };
    // Publishes the restored endpoints, and writes what the registry did not restore.
    shared.event(|_, _| ());
    Ok(RegistryParts {
        timer,
        prober: config
            .prober
            .map(|config| Prober::new(handle.clone(), config)),
        writer: StoreWriter::new(shared, store, stored, progress, turns_seen),
        handle,
    })
}

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
