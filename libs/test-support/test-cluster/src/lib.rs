//! A cluster of real processes on this machine: `orchestratord`, nodes with `pool-managerd`,
//! engines.
//!
//! Every process has a log file and a directory of its own, listens on a free port of 127.0.0.1,
//! inherits no setting of the developer's environment, and stops with the test. When a test fails,
//! the ends of all logs are printed.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test run and xtask print to a terminal; there is no log"
)]

mod cluster;
mod daemon;
mod engine;
mod node;
mod one_node;
mod orchestrator;
mod port;
mod supervised;

pub use self::{
    cluster::Cluster,
    daemon::{Daemon, Setting},
    engine::Engine,
    node::{Node, handoff, write_handoff},
    one_node::{OneNode, Profile},
    orchestrator::Orchestrator,
    port::free_port,
    supervised::{EngineProcess, Suspended},
};

/// The Rust of the README is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
