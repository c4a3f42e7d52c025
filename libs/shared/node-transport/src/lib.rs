//! Sends a request to the node of an endpoint.
//!
//! [`NodeTransport`] is all that the gateway knows about nodes. Over TCP a node's report travels in
//! headers; a node in the same process returns it as a value. Nothing else differs between one
//! machine and many.

mod tcp;
mod transport;

pub use tcp::{NODE_IDLE, TcpTransport, requested_pause};
pub use transport::{
    NodeRefusal, NodeReport, NodeRequest, NodeResponse, NodeTransport, Slots, TransportError,
};

/// The README's examples are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
