//! Starts and supervises the engines of a pool file, and announces them by handoff files.
//!
//! * A [`PoolFile`] describes the engines. Every problem with it is reported with its line.
//! * Each engine has a task that follows the decisions of the private module `core`: start the
//!   engine, wait until it is ready, write its handoff. When the engine ends, remove the handoff
//!   first, then start it again with backoff, and give up after a crash loop.
//! * An engine is stopped without loss: remove the handoff, wait for running requests, then send
//!   SIGTERM and finally SIGKILL to its process group.
//! * Scale to zero: an engine that is idle for as long as its pool configures is stopped but stays
//!   offered. The first request starts it.
//! * Engines outlive the agent. The next agent adopts a running engine, identified by its process
//!   id, its start time and a fingerprint of its configuration. Engines write to log files
//!   themselves, so that they do not depend on the agent.
//!
//! [`Prepared`] cleans up after an earlier agent; create it before handoffs are read.
//! [`Provisioner`] runs the engines from then on. This is the only crate that starts and stops
//! engines. Processes are identified by `/proc`: on systems without it engines run, but are never
//! adopted.

mod adoption;
mod context;
mod core;
mod cpu_share;
mod engine;
mod engine_handle;
mod error;
mod files;
mod handoff_directory;
mod limits;
mod logs;
mod pool_file;
mod preflight;
mod process;
mod process_record;
mod provisioner;
mod rollout;
mod running_engine;
mod scaled_to_zero;
mod spec;
mod status;
mod supervisor;
mod vram_ledger;
mod wait;

pub use error::{ChangeError, DirectoryError, UnknownPool};
pub use limits::LIMITS;
pub use pool_file::{PoolFile, PoolFileError, PoolFileProblem, PoolFileProblems};
pub use preflight::{PreflightError, PreflightFinding, check_pool_file, preflight};
pub use provisioner::{Prepared, Provisioner, ProvisionerConfig};
pub use spec::{Launch, LlamaCpp, OnAgentStop, PoolSpec, RestartPolicy};
pub use status::{EnginePhase, EngineStatus};
pub use vram_ledger::FreeVram;

/// Compiles the examples of the README as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
