//! Which endpoint serves which model.
//!
//! The routing table is the only hand-over from the control plane to the data plane. The registry
//! sends [`RouteChange`]s to a [`RouteSink`]; a router applies them to its [`RoutingTable`]. The
//! cost of a change does not depend on the number of endpoints, so a heartbeat of one node never
//! visits the others.
//!
//! An endpoint is a replica of a pool of a node. When a node does not report its replicas, or does
//! not accept a replica hint, each of its pools is one endpoint.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod endpoint;
mod report;
mod table;

pub use endpoint::{Endpoint, EndpointKey, HeaderLabels};
pub use report::{EndpointReport, EndpointState, EndpointSummary};
pub use table::{RouteChange, RouteSink, RoutingTable, SetResult};

/// The README's examples are compiled with the tests, and run where possible.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
