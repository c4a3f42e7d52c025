//! The pools and replicas of one GPU node: readiness, slots, drain, snapshots.
//!
//! A *replica* is one engine, announced by a handoff; a *pool* is a group of replicas. The registry
//! is the authority on their slots: whoever wants to send a request to an engine
//! [claims](PoolRegistry::claim) a slot first and gives it back by dropping the [`SlotLease`]. No
//! engine is ever given more requests than it has slots, also while its handoff is being rewritten.
//!
//! * **Ready** is a replica from the moment it appears: whoever announced it is trusted, and
//!   [probes](PoolRegistry::probed) verify it from then on. [`FAILURES_TO_DISTRUST`] failed ones in
//!   a row make it not ready, one good one makes it ready again. An engine that says it has fewer
//!   slots than its handoff promises is given no more than it has; one that says it has more gets
//!   what was promised.
//! * **Draining** is an intent of the operator, for a replica, a pool or the node: no new claims,
//!   running ones finish.
//! * **Asleep** is a replica that is stopped until somebody needs it: its slots can be claimed, and
//!   who claims one waits for it.
//! * **Retired** is a replica whose handoff went or now names another engine: it takes no new work
//!   and is forgotten with its last lease. One that comes back under the same name starts afresh.
//!
//! The private module `core` decides, without a clock and without I/O; [`PoolRegistry`] puts it
//! behind a lock and tells those who wait. Nothing here blocks, logs or spawns.

mod absent;
mod asleep;
mod claim;
mod core;
mod drain;
mod lease;
mod probe;
mod refused;
mod registry;
mod replica;
mod status;

#[cfg(test)]
mod tests;

pub use asleep::{Claim, PromisedSlot};
pub use claim::ClaimError;
pub use core::UpsertError;
pub use drain::{DrainTarget, UnknownTarget};
pub use lease::SlotLease;
pub use probe::{Change, ProbeOutcome};
pub use refused::RefusedHandoff;
pub use registry::{PoolRegistry, ReplicaTarget, Usage};
pub use replica::FAILURES_TO_DISTRUST;
pub use status::{ClaimedSlots, Slots};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
