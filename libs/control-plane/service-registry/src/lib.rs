//! Tracks which GPU nodes are online and which of their pools take requests.
//!
//! [`Registry`] is a state machine: every method takes an event and the time, and changes only the
//! registry. It does no I/O, reads no clock and needs no async runtime; `registry-runtime` adds
//! those. Time is a [`Duration`](std::time::Duration) since an origin that the caller chooses once
//! and measures with a monotonic clock. Timestamps of nodes are never used.
//!
//! # Three facts, three owners
//!
//! | fact | owner | method |
//! |---|---|---|
//! | *observed* | the node | [`register`](Registry::register), [`heartbeat`](Registry::heartbeat) |
//! | *intent* | an operator | [`drain`](Registry::drain), [`undrain`](Registry::undrain) |
//! | *evidence* | the prober | [`probe`](Registry::probe) |
//!
//! No fact overwrites another. A node's [status](pool_registry_types::NodeStatus) is derived from
//! all three, the worst first: offline, unreachable, draining, online.
//!
//! # What an event costs
//!
//! The logarithm of the number of nodes. No event walks over all nodes: totals are counted and
//! indexes kept in order, and the results of an event are handed out as changes.
//! [`take_routes`](Registry::take_routes) returns changed endpoints for the data path,
//! [`take_deltas`](Registry::take_deltas) changes for the log, [`take_dirty`](Registry::take_dirty)
//! nodes for a store, and [`take_targets`](Registry::take_targets) nodes for the prober. The
//! exceptions are a stall of this process, and the beginning and end of self-suspicion.
//!
//! # When more than half of the nodes fall silent
//!
//! Then the fault is more likely on this side. The nodes show their true status but are *held*:
//! they stay routable, and the data path finds out which of them answer. See [`SUSPICION_MAX`] for
//! the end of this.

mod config;
mod deadlines;
mod delta;
mod drains;
mod error;
mod events;
mod fleet;
mod heartbeat;
mod intent;
mod node;
mod pace;
mod persisted;
mod pool;
mod problems;
mod refused_nodes;
mod registry;
mod report;
mod silence;
mod suspicion;
mod view;

pub use config::{
    Config, ConfigError, FORGET_AFTER, MIN_FLEET, PROBES_TO_UNREACHABLE, STALL_THRESHOLD,
    SUSPICION_MAX, TICK_INTERVAL,
};
pub use delta::{Delta, DisplayPools, LeftReason};
pub use error::RegistryError;
pub use events::{HolderAnswer, RegisterOutcome};
pub use fleet::FleetSummary;
pub use heartbeat::{HeartbeatHeader, HeartbeatOutcome};
pub use intent::{Drain, Target};
pub use node::ReportDigest;
pub use pace::{CONFIGURED_UP_TO, HEARTBEATS_PER_SECOND, Pace};
pub use persisted::{PersistedDrain, PersistedNode, PersistedRegistration};
pub use refused_nodes::{MAX_REFUSED_NODES, REFUSAL_FORGOTTEN_AFTER, RefusedNode, RefusedNodes};
pub use registry::Registry;
pub use view::{Availability, NodeFilter, NodeView, NodesPage, PageStep, PoolView, ProbeTarget};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
