//! Which endpoint serves which model.
//!
//! It is the only hand-over from the control plane to the data plane. The registry keeps one
//! [`RouteSink`] up to date with [`RouteChange`]s; a router applies them to its [`RoutingTable`]. A
//! change costs the same however many endpoints there are, so that a heartbeat of one node never
//! walks over the others.
//!
//! An endpoint is a replica of a pool of a node. A node that does not tell its replicas, or does
//! not take a hint which of them to use, is one endpoint for each pool.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod endpoint;
mod report;
mod table;

pub use endpoint::{Endpoint, EndpointKey, Labels};
pub use report::{Report, State, Summary};
pub use table::{RouteChange, RouteSink, RoutingTable, Set};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
