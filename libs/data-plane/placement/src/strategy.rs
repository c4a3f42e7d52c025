//! How to choose among endpoints that could all take the request.

use std::{fmt, str::FromStr};

use routing_table::Summary;
use thiserror::Error;

use crate::{Load, Question, Rank, affinity::mix};

/// How to choose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Most free VRAM (in whole GiB), then fewest busy slots, then id.
    #[default]
    LeastLoaded,
    /// Each endpoint in turn.
    RoundRobin,
    /// The smallest part of its slots busy: an endpoint with twice the slots gets twice the requests.
    Weighted,
    /// The same endpoint for the same session, by rendezvous hashing; while that one is full the request goes
    /// to the session's second choice, and the next one returns. Without a session as least-loaded.
    Session,
    /// Where most of the prompt was seen before, weighed against load; what nobody has seen is spread out.
    Prefix,
}

/// A name that is no strategy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be one of least-loaded, round-robin, weighted, session, prefix, not {0:?}")]
pub struct UnknownStrategy(String);

/// A whole: what parts of it are counted in.
const WHOLE: u64 = 1 << 20;

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

    /// Where an endpoint stands that is at `position` among `count` candidates.
    pub(crate) fn rank(
        self,
        question: &Question<'_>,
        summary: &Summary,
        load: Load,
        position: u64,
        count: u64,
    ) -> Rank {
        match (self, question.session) {
            (Self::LeastLoaded, _) | (Self::Session, None) => {
                (u64::from(u32::MAX - summary.vram_gib), u64::from(load.used))
            }
            (Self::RoundRobin, _) => (turns_away(question.turn, position, count), 0),
            (Self::Weighted, _) => (
                busy_part(summary, load),
                turns_away(question.turn, position, count),
            ),
            (Self::Session, Some(session)) => (u64::MAX - mix(session ^ summary.hash), 0),
            (Self::Prefix, _) => {
                let unseen = question
                    .prefix
                    .map_or(WHOLE, |prefix| WHOLE - prefix.part_seen_by(summary.hash, WHOLE));
                (
                    unseen + busy_part(summary, load),
                    turns_away(question.turn, position, count),
                )
            }
        }
    }
}

/// How far a candidate is from the one whose turn it is, going round.
fn turns_away(turn: u64, position: u64, count: u64) -> u64 {
    (position + count - turn % count) % count
}

/// The busy part of an endpoint's slots, of [`WHOLE`].
fn busy_part(summary: &Summary, load: Load) -> u64 {
    WHOLE * u64::from(load.used) / u64::from(summary.slots_total.max(1))
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
