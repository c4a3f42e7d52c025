//! Tasks over real sockets, with fake engines that follow a script.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod harness;

mod cancel;
mod events;
mod failures;
mod queue;
mod refusals;
mod resume;
mod retention;
mod shutdown;
