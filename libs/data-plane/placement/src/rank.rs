//! Where a candidate stands by a strategy, as one number.

use routing_table::Summary;

use crate::{Load, Strategy, affinity::mix, loads::Class};

/// Where a candidate stands for a request: lower is better, and of equal ones the first in the
/// table's order is.
///
/// Whether it can take the request at all, and two numbers of the strategy's, the first of which
/// counts before the second, in one: to compare candidates is most of what a choice among thousands
/// does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u64);

/// Where a [`Class`] stands in a [`Rank`]; below it is what the strategy says.
const CLASS_SHIFT: u32 = 62;
/// The largest first number of a rank.
const MAX_FIRST: u32 = (1 << (CLASS_SHIFT - 32)) - 1;

impl Rank {
    /// Behind everybody.
    pub(crate) const LAST: Self = Self(u64::MAX);

    pub(crate) fn new(class: Class, first: u32, second: u32) -> Self {
        let number = u64::from(first.min(MAX_FIRST)) << 32 | u64::from(second);
        Self((class as u64) << CLASS_SHIFT | number)
    }

    pub(crate) fn class(self) -> Class {
        class_of(self.0 >> CLASS_SHIFT)
    }

    /// What it says, for people: the parts in the order in which they count. `by_session` is
    /// whether the request named a session; without one the strategy `session` goes by load.
    #[must_use]
    pub fn in_words(self, strategy: Strategy, by_session: bool) -> String {
        let [first, second] = self.parts();
        let percent = |part: u32, whole: u32| u64::from(part) * 100 / u64::from(whole);
        let turn = |others: u32| match others {
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
            (Strategy::RoundRobin, _) => turn(second),
            (Strategy::Weighted, _) => {
                format!("{} % taken, {}", percent(first, WHOLE), turn(second))
            }
            (Strategy::Session | Strategy::Prefix, _) => {
                let (affinity, unseen, share) = (
                    first >> KIND_SHIFT,
                    (first >> SHARE_BITS) & BYTE,
                    first & FULL_SHARE,
                );
                if affinity == Kind::Home as u32 {
                    return "the conversation is held here".to_owned();
                }
                let hundredths = u64::from(share) * 100 / u64::from(SHARE_OF_ONE);
                let per_slot = format!(
                    "{}.{:02} conversations per slot",
                    hundredths / 100,
                    hundredths % 100
                );
                let (busy, tie) = (percent(second >> TIE_BITS, BYTE), second & FAR);
                let tie = if strategy == Strategy::Session {
                    format!(
                        "{} % away from the session's first choice",
                        percent(tie, FAR)
                    )
                } else {
                    turn(tie)
                };
                if affinity == Kind::Known as u32 {
                    format!(
                        "{} % of the prompt unseen, {per_slot}, {busy} % taken, {tie}",
                        percent(unseen, BYTE)
                    )
                } else {
                    format!("{per_slot}, {busy} % taken, {tie}")
                }
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

const WHOLE_BITS: u32 = 20;
/// A whole: what parts of it are counted in.
pub(crate) const WHOLE: u32 = 1 << WHOLE_BITS;

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
        reason = "of two equal parts the quotients are the same number, and a float's division is \
                  a fifth of an integer's"
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
    pub(crate) fn part(self) -> u32 {
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

// One function for each strategy, and not one with a `match` in it: a choice walks over thousands
// of candidates by one strategy.

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

// A rank of the strategies that keep conversations in place, from the number that counts most: what
// ties the request to the endpoint, in 2 bits; the part of the prompt that it has not seen, in 8;
// conversations per slot, in 20; the part of its slots that is busy, in 8; and what is left to
// decide between equals, in 24.

/// What ties a request to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Its conversation is held there.
    Home,
    /// Much of its prompt was seen there, and it has no more than its share.
    Known,
    /// Nothing.
    None,
}

const KIND_SHIFT: u32 = 28;
const SHARE_BITS: u32 = 20;
const TIE_BITS: u32 = 24;
/// The largest number in 8 bits.
const BYTE: u32 = u8::MAX as u32;
const FULL_SHARE: u32 = (1 << SHARE_BITS) - 1;
const FAR: u32 = (1 << TIE_BITS) - 1;
/// One conversation per slot. 64 of them are as many as can be told apart: no engine keeps that
/// many prompts for each of its slots, so that of endpoints with more the least busy one is the
/// best.
const SHARE_OF_ONE: u32 = 1 << 14;

/// Where an endpoint stands for a new conversation, before what decides between equals.
pub(crate) fn spread(summary: &Summary, load: Load) -> Rank {
    let slots = u64::from(summary.slots_total.max(1));
    let share = u64::from(load.conversations) * u64::from(SHARE_OF_ONE) / slots;
    let share = u32::try_from(share).map_or(FULL_SHARE, |share| share.min(FULL_SHARE));
    let busy = BusyPart::of(summary, load);
    let busy_byte = (busy.part() >> (WHOLE_BITS - u8::BITS)).min(BYTE);
    let first = (Kind::None as u32) << KIND_SHIFT | share;
    Rank::new(busy.class(), first, busy_byte << TIE_BITS)
}

impl Rank {
    /// The busy part that a rank of [`spread`] tells, of [`WHOLE`].
    pub(crate) fn busy(self) -> u32 {
        let [_, second] = self.parts();
        (second >> TIE_BITS) << (WHOLE_BITS - u8::BITS)
    }

    /// That of [`spread`], with what decides between equals.
    pub(crate) fn or_tie(self, tie: u32) -> Self {
        Self(self.0 | u64::from(tie.min(FAR)))
    }

    /// That of [`spread`] for an endpoint that holds the conversation.
    pub(crate) fn at_home(self) -> Self {
        Rank::new(self.class(), (Kind::Home as u32) << KIND_SHIFT, 0)
    }

    /// That of [`spread`] for an endpoint that has seen all but `unseen` of [`WHOLE`] of the
    /// prompt.
    pub(crate) fn knowing(self, unseen: u32) -> Self {
        let [share, second] = self.parts();
        let unseen = (unseen >> (WHOLE_BITS - u8::BITS)).min(BYTE);
        let first = (Kind::Known as u32) << KIND_SHIFT | unseen << SHARE_BITS | share & FULL_SHARE;
        Rank::new(self.class(), first, second)
    }
}

/// How far an endpoint is from a session's first choice, by rendezvous hashing.
pub(crate) fn distance(session: u64, hash: u64) -> u32 {
    // What is left of 64 bits fits.
    u32::try_from(!mix(session, hash) >> (u64::BITS - TIE_BITS)).unwrap_or(FAR)
}
