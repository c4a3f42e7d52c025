//! Tools that only some machines have.
//!
//! A test asks [`Tool::is_here`], or installs Python [`Packages`]. Where the tool is missing, the
//! test is left out and the end of the run lists it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test run and xtask print to a terminal; there is no log"
)]

mod long;
mod python;
mod tool;

pub use self::{
    long::{LONG, is_long},
    python::Packages,
    tool::{LeftOut, Tool, VARIABLE, program},
};
