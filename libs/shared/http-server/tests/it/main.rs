//! The server from outside: what clients do, and how the server responds.
//!
//! Deadlines are tested in memory with the paused clock, so a test of 75 seconds takes no time.
//! Tests that need a kernel are in `tcp`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that meets what it does not expect has failed"
)]

mod auth;
mod client_gone;
mod control_routes;
mod deadlines;
mod http2;
mod limits;
mod logs;
mod shutdown;
mod support;
mod tcp;
mod tls;
mod tls_support;
mod unauthenticated;
