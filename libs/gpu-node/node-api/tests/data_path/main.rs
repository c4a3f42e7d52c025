//! The data path over real sockets, to a stand-in engine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod forwarding;
mod guarding;
mod hints;
mod logs;
mod sleeping;
mod support;
