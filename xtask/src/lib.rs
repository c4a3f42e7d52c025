//! Build, test and demo commands of this workspace.
//!
//! `cargo xtask help` lists them. The parts that tests need too are public: [`gguf`] makes a model,
//! [`engine`] finds a real `llama-server` for it, and [`cluster`] runs the real daemons.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "xtask talks to the person at the terminal, and has no log"
)]

mod arguments;
mod bench;
pub mod browser;
mod checks;
pub mod clock;
pub mod cluster;
pub mod commands;
mod deploy;
pub mod engine;
pub mod fuzz;
pub mod gguf;
pub mod http;
mod libfuzzer;
pub mod process;
pub mod python;
mod report;
mod runner;
pub mod tools;
pub mod workspace;

pub use checks::metrics::{Documented as DocumentedMetric, documented as documented_metrics};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
