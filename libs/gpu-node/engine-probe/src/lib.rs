//! Asks inference engines for their state: readiness, models, slots and load.
//!
//! A handoff announces an engine; a [`Prober`] verifies it from then on. It probes every replica of
//! a [`PoolRegistry`](pool_registry::PoolRegistry) at once when it appears and regularly
//! afterwards, and passes the outcome to the registry, which decides what three failures in a row
//! mean. [`probe`] probes one engine once.
//!
//! [`identify`] finds out which kind of engine answers at a URL, if any does.
//!
//! `kinds` has one file for each kind of engine: its paths as data, and what its answers mean
//! (`dialect`). Answers are parsed tolerantly: one in an unknown format is ignored.
//! `schedule` decides which engine is probed when, without a clock. [`AbandonedRequests`] keeps the
//! slot of an abandoned request until the engine has stopped working on it.

mod abandoned_requests;
mod answer;
mod changes;
mod dialect;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod identify;
mod key_file;
mod kinds;
mod limits;
mod parse;
mod probe;
mod prober;
mod prometheus;
mod schedule;
#[cfg(test)]
mod tests;

pub use abandoned_requests::{AbandonedRequests, AbandonedRequestsTask, TrackedRequest};
pub use changes::log_changes;
pub use identify::{Identity, identify};
pub use key_file::read_key;
pub use limits::LIMITS;
pub use probe::{EngineAt, NotAsked, ProbeScope, probe};
pub use prober::{MAX_CONCURRENT, Prober};
pub use schedule::Timing;

/// Compiles the examples of the README as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
