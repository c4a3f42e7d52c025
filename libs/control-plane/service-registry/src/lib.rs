//! Which GPU nodes are online, and which of their pools may be given requests.
//!
//! [`Registry`] is a state machine: every method takes an event and the time, and changes nothing
//! but the registry. It does no I/O, reads no clock and needs no async runtime; `registry-runtime`
//! brings those. Time is a [`Duration`](std::time::Duration) since an origin that the caller
//! chooses once and measures with a monotonic clock. What a node writes about time is never used.
//!
//! # Three facts, three owners
//!
//! | fact | who says it | by |
//! |---|---|---|
//! | *observed* | the node | [`register`](Registry::register), [`heartbeat`](Registry::heartbeat), [`repeat`](Registry::repeat) |
//! | *intent* | an operator | [`drain`](Registry::drain), [`undrain`](Registry::undrain) |
//! | *evidence* | whoever tries to reach the node | [`probe`](Registry::probe) |
//!
//! No fact overwrites another. A node's [status](pool_registry_types::NodeStatus) is derived from
//! all three, the gravest first: offline, unreachable, draining, online.
//!
//! # What an event costs
//!
//! The logarithm of the number of nodes, and no walk over them: what readers need of all nodes is
//! counted or kept in order, and what came of an event is handed out as changes.
//! [`take_routes`](Registry::take_routes) tells the data path what changed of endpoints,
//! [`take_deltas`](Registry::take_deltas) what to log, [`take_touched`](Registry::take_touched)
//! what a store should write, and [`take_targets`](Registry::take_targets) whom to probe. The
//! exceptions are a stall of this process and the begin and end of suspecting itself.
//!
//! # When more than half of the nodes fall silent
//!
//! Then the fault is more likely ours than theirs. Their status is shown as it is, but they are
//! *held*: they stay routable, and the data path finds out one by one which of them answer. See
//! [`SUSPICION_MAX`] for how it ends.

mod config;
mod deadlines;
mod delta;
mod drains;
mod error;
mod events;
mod fleet;
mod heartbeat;
mod intent;
mod known;
mod node;
mod pace;
mod pool;
mod registry;
mod report;
mod suspicion;
mod view;

pub use config::{
    Config, FORGET_AFTER, MIN_FLEET, PROBES_TO_UNREACHABLE, PULSE, STALL, SUSPICION_MAX,
};
pub use delta::{Delta, LeftReason, PoolsLine};
pub use error::RegistryError;
pub use events::RegisterOutcome;
pub use fleet::FleetSummary;
pub use heartbeat::{HeartbeatOutcome, Repeat};
pub use intent::{Drain, Target};
pub use known::{KnownDrain, KnownLife, KnownNode};
pub use node::Digest;
pub use pace::{CONFIGURED_UP_TO, HEARTBEATS_PER_SECOND, Pace};
pub use registry::Registry;
pub use view::{Availability, NodeFilter, NodeView, NodesPage, PoolView, ProbeTarget, Step};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
