//! How to choose among endpoints that could all take the request.

use std::{fmt, str::FromStr};

use routing_table::Summary;
use thiserror::Error;

use crate::{Load, PrefixMatch, affinity::mix};

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
const WHOLE: u32 = 1 << 20;

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

/// Where a candidate stands by a strategy: lower is better, and of equal ones the first in the table's order is.
///
/// Two numbers, the first of which counts before the second, in one: to compare candidates is most of what a choice
/// among thousands does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u64);

impl Rank {
    /// Behind everybody: no candidate has it.
    pub(crate) const LAST: Self = Self(u64::MAX);

    fn new(first: u32, second: u32) -> Self {
        Self(u64::from(first) << 32 | u64::from(second)).before_last()
    }

    fn before_last(self) -> Self {
        self.min(Self(u64::MAX - 1))
    }

    /// The two numbers, for people.
    #[must_use]
    pub fn parts(self) -> [u32; 2] {
        let part = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default();
        [part(self.0 >> 32), part(self.0)]
    }
}

/// Whose turn it is among the candidates, going round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    start: u32,
    count: u32,
}

impl Turn {
    pub(crate) fn new(turn: u64, count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
        // What is left of a division by a 32-bit number is one.
        let start = u32::try_from(turn % u64::from(count)).unwrap_or_default();
        Self { start, count }
    }

    /// How far a candidate is from the one whose turn it is.
    fn away(self, position: u32) -> u32 {
        if position >= self.start {
            position - self.start
        } else {
            position + (self.count - self.start)
        }
    }
}

// One function for each strategy, and not one with a `match` in it: a choice walks over thousands of candidates by one
// strategy.

pub(crate) fn least_loaded(summary: &Summary, load: Load) -> Rank {
    Rank::new(u32::MAX - summary.vram_gib, load.used)
}

pub(crate) fn round_robin(turn: Turn, position: u32) -> Rank {
    Rank::new(turn.away(position), 0)
}

pub(crate) fn weighted(summary: &Summary, load: Load, turn: Turn, position: u32) -> Rank {
    Rank::new(busy_part(summary, load), turn.away(position))
}

pub(crate) fn session(session: u64, summary: &Summary) -> Rank {
    Rank(u64::MAX - mix(session ^ summary.hash)).before_last()
}

pub(crate) fn prefix(
    seen: Option<&PrefixMatch>,
    summary: &Summary,
    load: Load,
    turn: Turn,
    position: u32,
) -> Rank {
    let unseen = seen.map_or(WHOLE, |seen| WHOLE - seen.part_seen_by(summary.hash, WHOLE));
    Rank::new(unseen + busy_part(summary, load), turn.away(position))
}

/// The busy part of an endpoint's slots, of [`WHOLE`].
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "of two equal parts the quotients are the same number, and a float's division is a fifth of an integer's"
)]
fn busy_part(summary: &Summary, load: Load) -> u32 {
    let part = load.used as f32 / summary.slots_total.max(1) as f32;
    (part.min(1.0) * WHOLE as f32) as u32
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
