//! Who may send a request where, and who waits.
//!
//! Every request asks [`Admission`] for a slot and gets a [`Lease`] on an endpoint, or waits its
//! turn, or is told at once why it cannot be served. Three kinds of knowledge meet here:
//!
//! * what the control plane knows: [`routing_table::RouteChange`]s, applied to the one routing
//!   table there is;
//! * what we hold ourselves: one count per endpoint, up with a lease, down when it is dropped;
//! * what endpoints tell of themselves: reported load, and failures ([`Failure`]) seen on the data
//!   path.
//!
//! The decisions are pure and live in `core` (slots and lines) and `ejection` (circuit breakers);
//! `runtime` puts a lock, a clock and wake-ups around them. The lock is held for a decision, never
//! across a wait, and no token of a stream passes through it.

mod config;
mod core;
mod due;
mod ejection;
mod lease;
mod limits;
mod line;
mod metrics;
mod runtime;
mod slot;
mod turns;

pub use crate::core::{
    EndpointStatus, ExplainedCandidate, Explanation, ModelSummary, Snapshot, Waiting,
};
pub use config::{
    AcquireRequest, Config, Outlook, Priority, Refusal, RefusalReason, RoutingPreference, Ticket,
    UnknownPriority,
};
pub use ejection::{Failure, Quarantine, TrustChange};
pub use lease::{Lease, Outcome};
pub use limits::LIMITS;
pub use metrics::AdmissionMetrics;
pub use runtime::Admission;

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
