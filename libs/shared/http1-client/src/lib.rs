//! An HTTP/1.1 client connection that its holder drives.
//!
//! A connection is not a task. The code that holds an [`UpstreamConnection`] polls it:
//! [`poll_head`](UpstreamConnection::poll_head) sends the request and reads the head of the
//! response, [`poll_body`](UpstreamConnection::poll_body) appends decoded body bytes to a buffer.
//! One wake-up returns everything that one read brought, decoded in one pass. A connection that
//! waits for more bytes holds no buffer.
//!
//! Dropping a connection closes its socket, which cancels the request. After a complete response a
//! connection goes back to an [`IdlePool`].
//!
//! A connection may have TLS. Its handshake is a part of opening it.
//!
//! Parsing is strict: a response that two recipients could read in two ways is refused, or its
//! connection is not reused. [`ResponseHead::headers`] holds end-to-end headers only, because this
//! client serves gateways.

mod connect;
mod connection;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handshakes;
pub mod hop_by_hop;
mod idle_pool;
mod timer;
mod upstream_stream;
mod wire;

pub use connect::Destination;
pub use connection::{MAX_INTERIM_RESPONSES, ResponseError, UpstreamConnection};
pub use handshakes::{Handshake, MAX_HANDSHAKES};
pub use idle_pool::{IdlePool, IdlePools, MAX_IDLE_CONNECTIONS, SWEEP_INTERVAL};
pub use wire::{
    MAX_CHUNK_OVERHEAD_BYTES, MAX_HEAD_BYTES, MAX_HEADERS, MAX_SIZE_DIGITS, ProtocolError,
    RequestHead, ResponseHead,
};

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
