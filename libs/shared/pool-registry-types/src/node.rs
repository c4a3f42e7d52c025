//! The status of a node, and small messages about nodes and pools.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A response without further content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Ack {
    /// Always true: a refusal is an error envelope.
    pub success: bool,
}

impl Ack {
    /// The request succeeded.
    #[must_use]
    pub fn new() -> Self {
        Self { success: true }
    }
}

impl Default for Ack {
    fn default() -> Self {
        Self::new()
    }
}

/// The body of a drain request; it may be empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct DrainRequest {
    /// How long running requests may take to finish, in milliseconds from now; absent: no limit.
    pub deadline_ms: Option<u64>,
}

impl DrainRequest {
    /// A drain with this deadline.
    #[must_use]
    pub fn new(deadline_ms: Option<u64>) -> Self {
        Self { deadline_ms }
    }
}

/// The status of a node, as the control plane sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum NodeStatus {
    /// It reports and is reachable.
    Online,
    /// It takes no new work, at its own or an operator's request; running requests finish.
    Draining,
    /// It reported recently, but is not reachable now.
    Unreachable,
    /// It has been silent for the whole timeout.
    Offline,
}

impl NodeStatus {
    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Draining => "draining",
            Self::Unreachable => "unreachable",
            Self::Offline => "offline",
        }
    }
}

impl fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
