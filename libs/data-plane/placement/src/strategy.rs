//! How to choose among endpoints that could all take the request.

use std::{fmt, str::FromStr};

use routing_table::Summary;
use thiserror::Error;

use crate::{Load, PrefixMatch, affinity::mix, loads::Class};

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

/// Where a candidate stands for a request: lower is better, and of equal ones the first in the table's order is.
///
/// Whether it can take the request at all, and two numbers of the strategy's, the first of which counts before the
/// second, in one: to compare candidates is most of what a choice among thousands does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u64);

/// Where a [`Class`] stands in a [`Rank`]; below it is what the strategy says.
const CLASS_SHIFT: u32 = 62;
/// The largest number below it.
const MAX_NUMBER: u64 = (1 << CLASS_SHIFT) - 1;
/// The largest first number of a rank.
const MAX_FIRST: u32 = (1 << (CLASS_SHIFT - 32)) - 1;

impl Rank {
    /// Behind everybody.
    pub(crate) const LAST: Self = Self(u64::MAX);

    pub(crate) fn new(class: Class, first: u32, second: u32) -> Self {
        Self::of(class, u64::from(first.min(MAX_FIRST)) << 32 | u64::from(second))
    }

    fn of(class: Class, number: u64) -> Self {
        Self((class as u64) << CLASS_SHIFT | number)
    }

    pub(crate) fn class(self) -> Class {
        class_of(self.0 >> CLASS_SHIFT)
    }

    /// What it says, for people: the parts in the order in which they count. `by_session` is whether the request
    /// named a session; without one the strategy `session` goes by load.
    #[must_use]
    pub fn in_words(self, strategy: Strategy, by_session: bool) -> String {
        let [first, second] = self.parts();
        let percent = |part: u32| u64::from(part) * 100 / u64::from(WHOLE);
        let turn = || match second {
            0 => "its turn".to_owned(),
            1 => "its turn after 1 other".to_owned(),
            others => format!("its turn after {others} others"),
        };
        match (strategy, by_session) {
            (Strategy::LeastLoaded, _) | (Strategy::Session, false) => {
                let free = match MAX_FIRST - first {
                    0 => "free VRAM unknown or under 1 GiB".to_owned(),
                    gib => format!("{gib} GiB of VRAM free"),
                };
                format!("{free}, {second} taken")
            }
            (Strategy::RoundRobin, _) => turn(),
            (Strategy::Weighted, _) => format!("{} % taken, {}", percent(first), turn()),
            (Strategy::Session, true) => {
                let percent = (self.0 & MAX_NUMBER) / (MAX_NUMBER / 100);
                format!("{percent} % away from the session's home")
            }
            (Strategy::Prefix, _) => {
                let percent = percent(first);
                format!("{percent} % of prompt unseen and slots taken, {}", turn())
            }
        }
    }

    /// The two numbers, for programs.
    #[must_use]
    pub fn parts(self) -> [u32; 2] {
        let part = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default();
        [part(self.0 >> 32) & MAX_FIRST, part(self.0)]
    }
}

fn class_of(bits: u64) -> Class {
    match bits {
        0 => Class::Ready,
        1 => Class::Asleep,
        2 => Class::Full,
        _ => Class::Closed,
    }
}

/// A whole: what parts of it are counted in.
const WHOLE: u32 = 1 << 20;

/// Whether an endpoint can take a request, and which part of its slots is busy; lower is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BusyPart(u32);

impl BusyPart {
    const CLASS_SHIFT: u32 = 30;
    /// Behind everybody.
    pub(crate) const LAST: Self = Self(u32::MAX);

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "of two equal parts the quotients are the same number, and a float's division is a fifth of an integer's"
    )]
    pub(crate) fn of(summary: &Summary, load: Load) -> Self {
        let part = load.used as f32 / summary.slots_total.max(1) as f32;
        let part = (part.min(1.0) * WHOLE as f32) as u32;
        Self((Class::of(summary, load) as u32) << Self::CLASS_SHIFT | part)
    }

    pub(crate) fn class(self) -> Class {
        class_of(u64::from(self.0 >> Self::CLASS_SHIFT))
    }

    /// Of [`WHOLE`].
    fn part(self) -> u32 {
        self.0 & ((1 << Self::CLASS_SHIFT) - 1)
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

    /// The position whose turn it is.
    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    /// How far a candidate is from the one whose turn it is.
    pub(crate) fn away(self, position: u32) -> u32 {
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
    Rank::new(
        Class::of(summary, load),
        MAX_FIRST.saturating_sub(summary.vram_gib),
        load.used,
    )
}

pub(crate) fn round_robin(busy: BusyPart, away: u32) -> Rank {
    Rank::new(busy.class(), 0, away)
}

pub(crate) fn weighted(busy: BusyPart, away: u32) -> Rank {
    Rank::new(busy.class(), busy.part(), away)
}

/// How much a session is drawn to an endpoint: most to its home.
pub(crate) fn liking(session: u64, hash: u64) -> u64 {
    mix(session, hash) >> (u64::BITS - CLASS_SHIFT)
}

pub(crate) fn session(session: u64, hash: u64, busy: BusyPart) -> Rank {
    Rank::of(busy.class(), MAX_NUMBER - liking(session, hash))
}

/// `seen` is `None` for an endpoint that has seen nothing of the prompt, or when nobody looked.
pub(crate) fn prefix(seen: Option<(&PrefixMatch, u64)>, busy: BusyPart, away: u32) -> Rank {
    let seen = seen.map_or(0, |(seen, hash)| seen.part_seen_by(hash, WHOLE));
    Rank::new(busy.class(), WHOLE - seen + busy.part(), away)
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
