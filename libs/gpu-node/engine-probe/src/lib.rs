//! What an inference engine really says about itself: alive, with which models, with how many
//! slots, and how busy.
//!
//! A handoff says that an engine is up; a [`Prober`] verifies that from then on. It asks every
//! replica of a [`PoolRegistry`](pool_registry::PoolRegistry) at once when it appears and regularly
//! afterwards, and tells the registry, which decides what three failures in a row mean. [`probe`]
//! asks one engine once.
//!
//! Engines differ in where they say that they are ready and what they do; `kind` and `probe` are
//! the tables of that. What they answer is read with tolerance (`answer`, `figures`, `prometheus`):
//! an answer that makes no sense says nothing, and never is an error of ours.
//! `schedule` decides who is asked when, without a clock. [`AbandonedRequests`] keeps the slot of a
//! request that was given up until the engine has really stopped.

mod abandoned_requests;
mod answer;
mod changes;
mod figures;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod kind;
mod limits;
mod probe;
mod prober;
mod prometheus;
mod schedule;
#[cfg(test)]
mod tests;

pub use abandoned_requests::{AbandonedRequests, AbandonedRequestsTask, TrackedRequest};
pub use changes::log_changes;
pub use limits::LIMITS;
pub use probe::{NotAsked, ProbeScope, probe};
pub use prober::{MAX_CONCURRENT, Prober};
pub use schedule::Timing;

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
