//! Register a GPU node with the control plane and report by heartbeat.
//!
//! [`NodeRegistration::start`] starts one thread. It registers, sends heartbeats, registers again
//! when the control plane has forgotten the node, and retries while the control plane is away. No
//! async runtime is needed, so any program can be a node. The [`RegistrationHandle`] reports
//! changes at once, returns the status, and deregisters.
//!
//! ```no_run
//! use node_registration::{NodeRegistration, RegistrationConfig};
//! use std::time::Duration;
//!
//! let config = RegistrationConfig::new(
//!     "gpu-node-1".parse()?,
//!     "machine-alpha".parse()?,
//!     "http://192.168.1.100:9200".parse()?,
//!     "http://orchestrator:8080".parse()?,
//! );
//! let registration = NodeRegistration::new(config).start(|| vec![/* the state of the pools */])?;
//! registration.notify(); // a pool changed: reported within 50 ms
//! registration.deregister(Duration::from_secs(2))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A pure state machine (`machine`) decides what to send and when. Around it are the thread
//! (`worker`), the requests (`http`) and the log (`registration_log`).

mod clock;
mod config;
mod control_plane;
mod handle;
mod http;
mod incarnation;
mod limits;
mod machine;
mod preflight;
mod registration_log;
mod report;
mod report_limit;
mod shared;
mod status;
mod worker;

#[cfg(test)]
mod scripted;

pub use bearer_auth::ApiToken;
pub use config::{DEFAULT_HEARTBEAT_INTERVAL, RegistrationConfig};
pub use handle::{DeregisterError, NodeRegistration, Notifier, RegistrationHandle, StartError};
pub use limits::LIMITS;
pub use preflight::{PreflightError, PreflightOk, preflight};
pub use report::NodeReport;
pub use status::{RegistrationState, RegistrationStatus};

/// Compiles the examples of the README as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
