//! Admits requests to endpoints: slot reservations, a bounded queue and circuit breakers.
//!
//! Every request asks [`Admission`] for a slot. It gets a [`Lease`] on an endpoint, waits in a
//! queue, or is refused at once with a reason. Three sources of knowledge are combined:
//!
//! * the control plane: [`routing_table::RouteChange`]s, applied to the only routing table;
//! * own requests: one count per endpoint, which a lease increments and its drop decrements;
//! * the endpoints: reported load, and failures ([`EndpointFailure`]) of the data path.
//!
//! The decisions are pure and live in `core` (slots and queues) and `circuit_breaker`. `shared`
//! adds a lock, a clock and wake-ups. The lock is held for one decision and never across an await;
//! no token of a stream passes through it.

mod admission;
mod circuit_breaker;
mod config;
mod core;
mod deadlines;
mod fair_queue;
mod limits;
mod metrics;
mod queue;
mod queued_request;
mod request;
mod round_robin;
mod shared;
mod slots;

pub use crate::core::view::{
    EndpointStatus, ExplainedCandidate, Explanation, ModelSummary, QueueDepth, Snapshot,
};
pub use admission::Admission;
pub use circuit_breaker::{BreakerChange, EndpointFailure, OpenBreaker};
pub use config::AdmissionConfig;
pub use limits::LIMITS;
pub use metrics::AdmissionMetrics;
pub use request::{
    AcquireRequest, ContextNeed, Flow, Priority, Refusal, RefusalReason, RoutingPreference, Ticket,
    UnknownPriority, WaitEstimate,
};
pub use shared::{Lease, LeaseOutcome};

/// The README's examples are compiled with the tests, and run where possible.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
