//! The pools and replicas of one GPU node: readiness, slots, drain, snapshots.
//!
//! A *replica* is one engine, announced by a handoff; a *pool* is a group of replicas. The registry
//! is the authority on their slots: [claim](PoolRegistry::claim) a slot before sending a request to
//! an engine, and drop the [`SlotLease`] to give it back. An engine never gets more requests than
//! it has slots, even while its handoff is being rewritten.
//!
//! * **Ready**: a replica is ready as soon as it is announced; [probes](PoolRegistry::probed)
//!   verify it from then on. [`FAILURE_THRESHOLD`] failed probes in a row make it not ready, one
//!   success makes it ready again. If the engine reports fewer slots than its handoff announces, it
//!   gets no more requests than it has slots. If it reports more, the handoff counts.
//! * **Draining**: an operator drains a replica, a pool or the node. New claims are refused,
//!   running requests finish.
//! * **Scaled to zero**: the engine of a replica is stopped until a request needs it. Its slots can
//!   be claimed; the claim waits for the engine.
//! * **Retired**: the handoff of a replica is gone or names another engine. The replica takes no
//!   new requests and is forgotten with its last lease. A replica of the same name starts afresh.
//!
//! The private module `core` decides, without a clock and without I/O. [`PoolRegistry`] puts it
//! behind a lock and notifies waiters. Nothing here blocks, logs or spawns.

mod absent;
mod claim;
mod core;
mod drain;
mod engine_key;
mod lease;
mod pending;
mod probe;
mod refused;
mod registry;
mod replica;
mod scaled_to_zero;
mod shared;
mod status;

#[cfg(test)]
mod tests;

pub use claim::ClaimError;
pub use core::UpsertError;
pub use drain::{DrainTarget, UnknownTarget};
pub use engine_key::{EngineKey, EngineKeyError, MAX_KEY_BYTES};
pub use lease::SlotLease;
pub use pending::{Claim, PendingSlot};
pub use probe::{ProbeOutcome, ReplicaChange, ReplicaTarget};
pub use registry::PoolRegistry;
pub use replica::{FAILURE_THRESHOLD, Trust};
pub use status::{ClaimedSlots, PoolUsage, Slots};

/// Compiles the examples of the README as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
