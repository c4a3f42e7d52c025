//! Tests of the real daemons with a real engine: `cargo xtask e2e`.
//!
//! The tests are in `tests/e2e`. This library has what they share with commands of xtask.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test run and xtask print to a terminal; there is no log"
)]

/// The tests of the official clients write `.docs/CLIENTS.md` when this variable is set.
pub const WRITE_CLIENTS: &str = "LLORCH_WRITE_CLIENTS";

pub mod browser;
pub mod node_modules;
pub mod schemathesis;
