//! Everything that our daemons share: arguments, common settings, runtime, listeners, and the steps
//! of a start and a stop.
//!
//! A binary describes itself by a [`Program`], reads its settings with a [`SettingsReader`] (the
//! common [`Settings`] are a part of them), and builds and stops its components around a
//! [`Daemon`]:
//!
//! ```no_run
//! use daemon::{Daemon, Program, Setting, Settings, SettingsReader, StartError};
//! use service_runtime::env::{Environment, Problems};
//! use std::{net::SocketAddr, time::Duration};
//!
//! static ADDR: Setting<SocketAddr> =
//!     Setting::listen_address("DEMO_ADDR", || SocketAddr::from(([127, 0, 0, 1], 8080)));
//!
//! static PAUSE: Setting<Duration> =
//!     Setting::millis("DEMO_PAUSE_MS", || Duration::from_secs(1), 1..=60_000)
//!         .help("pause between two rounds");
//!
//! const PROGRAM: Program = Program {
//!     name: "demo",
//!     version: env!("CARGO_PKG_VERSION"),
//!     title: "a daemon that waits to be stopped",
//!     about: "It does nothing else.",
//!     address: &ADDR,
//!     settings: &[&PAUSE],
//!     ending: "",
//!     prefix: "DEMO_",
//!     openapi: || "{}".to_owned(),
//!     limits: &[],
//!     unused_in_profile: |_is_cloud| &[],
//! };
//!
//! struct Config {
//!     settings: Settings,
//!     pause: Duration,
//! }
//!
//! impl AsRef<Settings> for Config {
//!     fn as_ref(&self) -> &Settings {
//!         &self.settings
//!     }
//! }
//!
//! fn configure(environment: Environment) -> Result<Config, Problems> {
//!     let mut reader = SettingsReader::new(&PROGRAM, environment);
//!     let config = Config {
//!         settings: Settings::read(&mut reader, &PROGRAM),
//!         pause: reader.read(&PAUSE),
//!     };
//!     reader.finish().map(|()| config)
//! }
//!
//! async fn run(config: Config, daemon: Daemon) -> Result<(), StartError> {
//!     let _listeners = daemon.bind(&config.settings)?;
//!     daemon.stop_requested(config.pause).await;
//!     daemon.end().await;
//!     Ok(())
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     daemon::main(&PROGRAM, configure, |_config, _report| {}, run)
//! }
//! ```

mod check;
mod common;
mod configuration_file;
mod directory;
mod entry;
#[cfg(test)]
mod fixtures;
mod flags;
mod help;
mod program;
mod reader;
mod renewal;
mod report;
mod require_auth;
mod running;
mod secrets;
mod setting;
mod settings;
mod similar;
mod sources;
mod tls;
mod unused;

pub use common::{
    ENGINES_DIR, REQUIRE_AUTH, RUNTIME_DIR, SCAN_INTERVAL, SCAN_PORTS, STATE_DIR, TLS_IDENTITY_FILE,
};
pub use directory::{DirectoryUse, check_directory, require_directory, require_regular_file};
pub use entry::main;
pub use program::Program;
pub use reader::SettingsReader;
pub use report::{Finding, Report, Verdict};
pub use require_auth::RequireAuth;
pub use running::{Daemon, JOIN_TIMEOUT, LIMITS, Listeners, StartError};
pub use secrets::SECRET_VARIABLES;
pub use setting::{DescribeSetting, OtherWays, Setting, SettingDescription, Unset, ValueKind};
pub use settings::{ScanSettings, Settings};
pub use telemetry::Metrics;
pub use tls::ListenTls;

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
