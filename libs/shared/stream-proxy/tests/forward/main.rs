//! The proxy against real sockets; the tests script each byte of the upstream.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod failures;
mod forwarding;
mod framing;
mod support;
