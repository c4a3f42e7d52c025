//! How to choose among available endpoints.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// How to choose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Most free VRAM (in whole GiB), then fewest used slots, then id.
    #[default]
    LeastLoaded,
    /// Each endpoint in turn.
    RoundRobin,
    /// The smallest fraction of used slots: an endpoint with twice the slots gets twice the
    /// requests.
    Weighted,
    /// The same endpoint for the same session. A new session goes to the endpoint with the fewest
    /// sessions per slot, and so does a session whose endpoint cannot take the request. Without a
    /// session like least-loaded.
    Session,
    /// The same endpoint for each turn of a conversation, which is recognized by its prompt. A new
    /// conversation goes to an endpoint that has seen much of its prompt and has at most its fair
    /// share of conversations; else to the one with the fewest conversations per slot.
    Prefix,
}

/// The name is not one of a strategy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be one of least-loaded, round-robin, weighted, session, prefix, not {0:?}")]
pub struct UnknownStrategy(String);

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 5] = [
        Self::LeastLoaded,
        Self::RoundRobin,
        Self::Weighted,
        Self::Session,
        Self::Prefix,
    ];

    /// Its name in settings and headers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LeastLoaded => "least-loaded",
            Self::RoundRobin => "round-robin",
            Self::Weighted => "weighted",
            Self::Session => "session",
            Self::Prefix => "prefix",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(name: &str) -> Result<Self, UnknownStrategy> {
        Self::ALL
            .into_iter()
            .find(|strategy| strategy.as_str() == name)
            .ok_or_else(|| UnknownStrategy(name.chars().take(40).collect()))
    }
}
