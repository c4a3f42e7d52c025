//! Starts and supervises the engines of a pool file, and announces them by handoff files.
//!
//! * A [`PoolFile`] says which engines there are to be; every problem with it is named at its line.
//! * Each engine has a task that does what the private module `core` decides: start it, wait until
//!   it is really ready, write its handoff; when it goes, remove the handoff before anything else;
//!   start it again, later each time, and give it up when that does not help.
//! * An engine is stopped without loss: its handoff goes, its running requests end, then SIGTERM,
//!   then SIGKILL, always to its whole process group.
//! * An engine that nobody needs for as long as its pool says is stopped and stays offered; the
//!   first request starts it.
//! * Engines outlive the agent. One that runs already is adopted, told from others by its number,
//!   its start and the way it was started; it writes to files of its own, so that nothing of it
//!   breaks with the agent.
//!
//! [`Prepared`] looks at what an earlier agent left behind, before anybody reads handoffs;
//! [`Provisioner`] runs the engines from then on. This is the only crate that starts and ends
//! engines. Processes are known again by what `/proc` says: on systems without it engines run, but
//! are never adopted.

mod adoption;
mod core;
mod cpu_share;
mod engine;
mod files;
mod handoffs;
mod limits;
mod logs;
mod pool_file;
mod preflight;
mod process;
mod promises;
mod provisioner;
mod records;
mod replace;
mod running;
mod shared;
mod spec;
mod status;
mod vram;
mod waiting;

pub use adoption::DirectoryError;
pub use limits::LIMITS;
pub use pool_file::{PoolFile, PoolFileError, Problem, Problems};
pub use preflight::{Finding, PreflightError, check, preflight};
pub use provisioner::{Config, Prepared, Provisioner, UnknownPool};
pub use replace::ChangeError;
pub use spec::{Launch, LlamaCpp, OnAgentStop, PoolSpec, RestartPolicy};
pub use status::{EngineStatus, Phase};
pub use vram::FreeVram;

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
