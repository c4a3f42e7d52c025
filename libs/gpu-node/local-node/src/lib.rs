//! The node libraries combined into one node: for `pool-managerd`, which joins a control plane over
//! the network, and for `orchestratord` in the HOME profile, which contains it.
//!
//! * [`LocalNode`] turns handoff files (`handoff-watcher`) into pools (`pool-registry`), probes
//!   their engines (`engine-probe`) and reads free VRAM (`gpu-inventory`). It watches a runtime
//!   directory, and one that survives a restart of the machine, and may search this machine for
//!   engines (`engine-discovery`).
//! * [`Node`] adds the engines of a pool file (`engine-provisioner`), drains that survive restarts,
//!   and the data path to the engines (`node-api`). It locks its directories, so that a second
//!   process with the same ones does not start.
//! * [`InProcessAgent`] registers the node with a control plane in the same process and reports its
//!   state. Over the network `node-registration` does the same.

mod agent;
mod check;
mod check_handoffs;
mod engines;
mod handoff_applier;
mod handoff_filter;
mod handoff_merge;
mod handoff_metrics;
mod local_node;
mod node;
mod scan;

pub use agent::{InProcessAgent, NodeIdentity, Registrar, RegistrarError};
pub use check::check;
pub use engines::PoolFileAt;
pub use local_node::{LocalNode, WatchConfig};
pub use node::{Node, NodeConfig, NodeError, StateDir};
use pool_registry_types::limits::Limit;
pub use scan::ScanConfig;

/// The limits of the libraries that are combined here, by crate.
pub const LIMITS: &[(&str, &[Limit])] = &[
    ("handoff-watcher", handoff_watcher::LIMITS),
    ("engine-discovery", engine_discovery::LIMITS),
    ("engine-probe", engine_probe::LIMITS),
    ("engine-provisioner", engine_provisioner::LIMITS),
];

/// Compiles the examples of the README as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
