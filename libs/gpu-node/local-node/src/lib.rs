//! The node libraries wired as one: the same node for `pool-managerd`, which joins a control plane
//! over the network, and for `orchestratord` in the HOME profile, which contains it.
//!
//! * [`LocalNode`]: handoff files go in (`handoff-watcher`), pools come out (`pool-registry`);
//!   their engines are probed (`engine-probe`), their free VRAM is read (`gpu-inventory`).
//! * [`Node`]: that with all that is around it, the engines of a pool file (`engine-provisioner`),
//!   drains that are remembered, and the way to the engines (`node-api`). It has its directories
//!   for itself: a second process with the same ones does not start.
//! * [`InProcessAgent`]: registers the node and reports its state to a control plane in the same
//!   process. Over the network `node-registration` does the same.

mod agent;
mod check;
mod engines;
mod handoffs;
mod local;
mod node;
mod rules;

pub use agent::{Identity, InProcessAgent, Registrar, RegistrarError};
pub use check::check;
pub use engines::PoolFileAt;
pub use local::{LocalNode, WatchConfig};
pub use node::{Node, NodeConfig, NodeError, StateDir};
use pool_registry_types::limits::Limit;

/// The bounds of the libraries that are wired here, by crate.
pub const LIMITS: &[(&str, &[Limit])] = &[
    ("handoff-watcher", handoff_watcher::LIMITS),
    ("engine-probe", engine_probe::LIMITS),
    ("engine-provisioner", engine_provisioner::LIMITS),
];

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
