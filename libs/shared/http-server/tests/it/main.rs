//! The server seen from outside: what clients can do to it, and what it does about it.
//!
//! Deadlines are tested in memory with the paused clock, so that a test of 75 seconds takes none.
//! What needs a kernel is in `tcp`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that meets what it does not expect has failed"
)]

mod auth;
mod client_gone;
mod control_routes;
mod deadlines;
mod limits;
mod logs;
mod shutdown;
mod support;
mod tcp;
mod unauthenticated;
