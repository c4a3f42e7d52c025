//! The status of a registration.

use std::{fmt, time::Duration};

use pool_registry_types::HttpUrl;

use crate::machine::RegistrationPhase;

/// The state of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegistrationState {
    /// Not registered, or forgotten; it retries.
    Registering,
    /// Registered. [`RegistrationStatus::failures_in_a_row`] tells whether the control plane can be
    /// reached now.
    Registered,
    /// A later incarnation of the node has registered. This one sends nothing more; an operator has
    /// to act.
    Superseded,
    /// Deregistering.
    Deregistering,
    /// Nothing more will be sent.
    Stopped,
}

impl RegistrationState {
    /// A name for logs and status pages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registering => "registering",
            Self::Registered => "registered",
            Self::Superseded => "superseded",
            Self::Deregistering => "deregistering",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for RegistrationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<RegistrationPhase> for RegistrationState {
    fn from(phase: RegistrationPhase) -> Self {
        match phase {
            RegistrationPhase::Registering => Self::Registering,
            RegistrationPhase::Registered => Self::Registered,
            RegistrationPhase::Superseded => Self::Superseded,
            RegistrationPhase::Deregistering => Self::Deregistering,
            RegistrationPhase::Stopped => Self::Stopped,
        }
    }
}

/// A snapshot of the registration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistrationStatus {
    /// The state.
    pub state: RegistrationState,
    /// The incarnation of this node.
    pub incarnation: u64,
    /// The address of the control plane that was used last.
    pub control_plane: HttpUrl,
    /// Why the last failed request failed; `None` while the last request succeeded.
    pub last_error: Option<String>,
    /// How long ago a request last succeeded; `None` before the first.
    pub last_success_age: Option<Duration>,
    /// Failed requests since the last accepted heartbeat.
    pub failures_in_a_row: u32,
    /// Registrations that were accepted.
    pub registrations: u64,
    /// Heartbeats that were accepted.
    pub heartbeats: u64,
    /// Requests that failed.
    pub failures: u64,
    /// The heartbeat interval in force, without its jitter.
    pub heartbeat_interval: Duration,
}
