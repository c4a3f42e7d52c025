//! Build, test and demo commands of this workspace.
//!
//! `cargo xtask help` lists them. What the commands do is in crates of their own: below
//! `xtask/crates`, and below `libs/test-support` where tests use it too.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "xtask prints to a terminal; there is no log"
)]

mod arguments;
pub mod commands;
mod libfuzzer;
mod report;
mod runner;
