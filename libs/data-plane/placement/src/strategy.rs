//! How to choose among endpoints that could all take the request.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::Candidate;

/// The step in which free VRAM is compared. Two equal GPUs never have the same number of free bytes; counting
/// bytes would send everything to one of them until it is full.
const VRAM_STEP_BYTES: u64 = 1 << 30;

/// How to choose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Most free VRAM (in whole GiB), then fewest busy slots, then id.
    #[default]
    LeastLoaded,
    /// Each endpoint in turn.
    RoundRobin,
}

/// A name that is no strategy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be one of least-loaded, round-robin, not {0:?}")]
pub struct UnknownStrategy(String);

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 2] = [Self::LeastLoaded, Self::RoundRobin];

    /// Its name in settings and headers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LeastLoaded => "least-loaded",
            Self::RoundRobin => "round-robin",
        }
    }

    /// Where `candidate` stands among `count` of them; the lowest rank is chosen, and of equal ones the first.
    pub(crate) fn rank(self, turn: u64, count: u64, candidate: &Candidate<'_>) -> (u64, u64) {
        match self {
            Self::LeastLoaded => {
                let vram_steps = candidate.endpoint.vram_free_bytes / VRAM_STEP_BYTES;
                (u64::MAX - vram_steps, u64::from(candidate.load.used))
            }
            // How far it is from the one whose turn it is, going round.
            Self::RoundRobin => ((candidate.position + count - turn % count) % count, 0),
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
