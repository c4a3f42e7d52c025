//! The task, the timers and the node probes around the pure `service-registry`.
//!
//! [`build`] takes up what a store has kept, gives four parts, and starts nothing:
//!
//! * [`RegistryHandle`], the front: clone it wherever nodes, operators or probes have something to say. It also has
//!   the two views, published by `watch`: the [`NodesSnapshot`](service_registry::NodesSnapshot) for people and the
//!   [`RoutingTable`](routing_table::RoutingTable) for the data path.
//! * [`RegistryTask`], the one owner of the registry. It wakes at each node's own deadline, never to sweep, logs what
//!   changed, and publishes **before** it answers: who gets the answer to a heartbeat sees it in both views.
//! * [`Prober`], which tries to reach every node about once a second, those known from before at once, and those that are
//!   gone seldom. It asks who answers.
//! * [`Keeper`], which writes what changed to the store, behind everybody's back.

mod config;
mod handle;
mod keeper;
mod kept;
mod limits;
mod log;
mod metrics;
mod news;
mod probe;
mod prober;
mod schedule;
mod task;

pub use config::{Config, ProberConfig};
pub use handle::{CallError, RegistryHandle};
pub use keeper::Keeper;
pub use limits::LIMITS;
pub use metrics::NodesMetrics;
pub use prober::Prober;
pub use task::RegistryTask;

use std::sync::Arc;

use registry_store::{RegistryStore, StoreError};

use kept::Kept;

/// What [`build`] gives.
#[derive(Debug)]
pub struct Parts {
    /// The front.
    pub handle: RegistryHandle,
    /// To be run by a task of its own.
    pub task: RegistryTask,
    /// To be run by a task of its own; `None` when switched off.
    pub prober: Option<Prober>,
    /// To be run by a task of its own, that ends after the registry's task, when the last change is kept.
    pub keeper: Keeper,
}

/// Builds the registry and what surrounds it, with the nodes that the store knows from before.
///
/// Reads the store, which blocks for as long as that takes.
///
/// # Errors
/// When the store cannot be read. To go on without it would route to what operators have drained.
pub fn build(config: Config, store: Arc<dyn RegistryStore>) -> Result<Parts, StoreError> {
    let stored = Kept::from_store(store.load()?);
    let (handle, task, kept) = task::pair(&config, stored.clone());
    let prober = config.prober.map(|config| Prober::new(handle.clone(), config));
    let keeper = Keeper::new(store, stored, kept);
    Ok(Parts {
        handle,
        task,
        prober,
        keeper,
    })
}

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
