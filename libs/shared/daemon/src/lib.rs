//! What our daemons have in common: arguments, common settings, runtime, listener, the beginning
//! and the end.
//!
//! A binary says who it is ([`Program`]), turns the environment into its configuration, of which
//! the common [`Settings`] are a part, and builds and stops its parts around a [`Daemon`].
//! Everything else is here:
//!
//! ```no_run
//! use daemon::{Daemon, Program, Setting, Settings, StartError, Unset};
//! use service_runtime::env::{Environment, Problems};
//!
//! const PROGRAM: Program = Program {
//!     name: "demo",
//!     version: env!("CARGO_PKG_VERSION"),
//!     title: "a daemon that waits to be stopped",
//!     about: "It does nothing else.",
//!     settings: &[Setting {
//!         name: "DEMO_ADDR",
//!         unset: Unset::Value("127.0.0.1:8080"),
//!         what: "where it listens",
//!         more: "",
//!     }],
//!     ending: "",
//!     prefix: "DEMO_",
//!     openapi: || "{}".to_owned(),
//!     limits: &[],
//! };
//!
//! struct Config(Settings);
//!
//! impl AsRef<Settings> for Config {
//!     fn as_ref(&self) -> &Settings {
//!         &self.0
//!     }
//! }
//!
//! fn configuration(environment: Environment) -> Result<Config, Problems> {
//!     let mut problems = Problems::default();
//!     let settings = Settings::read(&environment, &PROGRAM, 8080, &mut problems);
//!     problems.finish().map(|()| Config(settings))
//! }
//!
//! async fn run(config: Config, daemon: Daemon) -> Result<(), StartError> {
//!     let _listener = daemon.bind(&config.0)?;
//!     daemon.asked_to_stop(std::time::Duration::ZERO).await;
//!     daemon.end().await;
//!     Ok(())
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     daemon::main(&PROGRAM, configuration, |_config, _report| {}, run)
//! }
//! ```

pub mod check;
mod help;
mod program;
mod report;
mod running;
mod settings;

/// The allocator of our daemons: a request makes some thirty allocations and frees them on
/// whichever thread ends it.
///
/// The C library's is slow for those above a kilobyte, of which there are four in a request.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub use help::{Setting, Unset};
pub use program::{Program, main};
pub use report::{Finding, Report, Verdict};
pub use running::{Daemon, JOIN_TIMEOUT, LIMITS, StartError};
pub use settings::Settings;

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
