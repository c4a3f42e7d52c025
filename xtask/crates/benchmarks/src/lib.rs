//! What the gateway and the registry cost: the gateway side by side with others, on the same
//! engines, in the same minutes.
//!
//! Everything runs on this machine, so that numbers of two machines, or of two days, say nothing;
//! the ratios of one run do. Each round starts every contender anew and takes them in another
//! order, and in a scenario they follow each other within seconds, so that drift hits all.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "xtask prints to a terminal; there is no log"
)]

mod contender;
mod engines;
mod gateway;
mod markdown;
mod measurement;
mod median;
mod peers;
mod processes;
mod profile;
pub mod registry;
mod report;
mod results;
mod scenario;

pub use gateway::{Options, run};
