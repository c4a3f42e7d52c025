//! Tests of the real daemons with a real engine: `cargo xtask e2e`.
//!
//! The tests are in `tests/e2e`. This library has what they share with commands of xtask.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test run and xtask print to a terminal; there is no log"
)]

pub mod browser;
pub mod node_modules;
pub mod schemathesis;
