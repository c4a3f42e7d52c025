//! Register a GPU node with the control plane and report by heartbeat.
//!
//! [`NodeRegistration::start`] starts one thread that registers, sends heartbeats, registers again
//! when the control plane has forgotten the node, and keeps trying while it is away. No async
//! runtime is needed, so any program can be a node. The [`RegistrationHandle`] reports changes at
//! once, tells how things stand, and takes the registration back.
//!
//! ```no_run
//! use node_registration::{Config, NodeRegistration};
//! use std::time::Duration;
//!
//! let config = Config::new(
//!     "gpu-node-1".parse()?,
//!     "machine-alpha".parse()?,
//!     "http://192.168.1.100:9200".parse()?,
//!     "http://orchestrator:8080".parse()?,
//! );
//! let registration = NodeRegistration::start(config, || vec![/* the state of the pools */])?;
//! registration.notify(); // a pool changed: the control plane hears of it within 50 ms
//! registration.deregister(Duration::from_secs(2))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is said when is decided by a pure state machine (`machine`), which is tested on its own;
//! the rest is the thread (`worker`), the requests (`http`) and the log (`journal`).

mod clock;
mod config;
mod control_plane;
mod fit;
mod handle;
mod http;
mod incarnation;
mod journal;
mod limits;
mod machine;
mod preflight;
mod report;
mod shared;
mod status;
mod worker;

#[cfg(test)]
mod scripted;

pub use config::{Config, DEFAULT_HEARTBEAT_INTERVAL};
pub use handle::{DeregisterError, NodeRegistration, Notifier, RegistrationHandle, StartError};
pub use limits::LIMITS;
pub use preflight::{PreflightError, PreflightOk, preflight};
pub use report::NodeReport;
pub use status::{RegistrationState, RegistrationStatus};

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
