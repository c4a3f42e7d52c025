//! What the registration tells about itself.

use std::{fmt, time::Duration};

use pool_registry_types::HttpUrl;

use crate::machine::Phase;

/// Where the node stands with the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegistrationState {
    /// Not registered, or forgotten: it is trying.
    Registering,
    /// Registered. Whether the control plane can be reached just now is another question: see
    /// [`RegistrationStatus::failures_in_a_row`].
    Registered,
    /// A later start of the same node has registered. This one sends nothing more; a person has to
    /// look.
    Superseded,
    /// Taking the registration back.
    Deregistering,
    /// Nothing more will be sent.
    Stopped,
}

impl RegistrationState {
    /// A word for logs and status pages.
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

impl From<Phase> for RegistrationState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Registering => Self::Registering,
            Phase::Registered => Self::Registered,
            Phase::Superseded => Self::Superseded,
            Phase::Deregistering => Self::Deregistering,
            Phase::Stopped => Self::Stopped,
        }
    }
}

/// A snapshot of the registration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistrationStatus {
    /// Where the node stands.
    pub state: RegistrationState,
    /// Which life of the node this is.
    pub incarnation: u64,
    /// The control plane address that was used last.
    pub orchestrator: HttpUrl,
    /// Why the last failed request failed; `None` while the last request succeeded.
    pub last_error: Option<String>,
    /// How long ago a request last succeeded; `None` before the first.
    pub last_success_age: Option<Duration>,
    /// Failed requests since a heartbeat was last accepted; 0 means that all is well.
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
