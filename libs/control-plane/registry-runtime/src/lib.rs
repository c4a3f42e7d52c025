//! The task, the timers and the node probes around the pure `service-registry`.
//!
//! [`build`] gives three parts and starts nothing:
//!
//! * [`RegistryHandle`], the front: clone it wherever nodes, operators or probes have something to say. It also has
//!   the two views, published by `watch`: the [`NodesSnapshot`](service_registry::NodesSnapshot) for people and the
//!   [`RoutingTable`](routing_table::RoutingTable) for the data path.
//! * [`RegistryTask`], the one owner of the registry. It wakes at each node's own deadline, never to sweep, logs what
//!   changed, and publishes **before** it answers: who gets the answer to a heartbeat sees it in both views.
//! * [`Prober`], which tries to reach every node about once a second.

mod config;
mod handle;
mod log;
mod probe;
mod prober;
mod task;

pub use config::{Config, ProberConfig};
pub use handle::{CallError, RegistryHandle};
pub use prober::Prober;
pub use task::RegistryTask;

use service_registry::KnownNode;

/// What [`build`] gives.
#[derive(Debug)]
pub struct Parts {
    /// The front.
    pub handle: RegistryHandle,
    /// To be run by a task of its own.
    pub task: RegistryTask,
    /// To be run by a task of its own; `None` when switched off.
    pub prober: Option<Prober>,
}

/// Builds the registry and what surrounds it. `known` are the nodes that an earlier process knew.
///
/// Its clock is tokio's, which a test can pause. Let time pass there by sleeping: `tokio::time::advance` over more
/// than [`STALL`](service_registry::STALL) looks like a process that did not run, and is treated as one.
#[must_use]
pub fn build(config: Config, known: Vec<KnownNode>) -> Parts {
    let (handle, task) = task::pair(&config, known);
    let prober = config.prober.map(|config| Prober::new(handle.clone(), config));
    Parts { handle, task, prober }
}
