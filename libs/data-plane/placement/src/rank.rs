//! The rank of a candidate by a strategy, as one number.

use routing_table::EndpointSummary;

use crate::{
    affinity::mix,
    load::{Availability, Load},
    strategy::Strategy,
};

/// The rank of a candidate for a request: lower is better, and of equals the first in the table's
/// order wins.
///
/// One number combines the candidate's availability with two numbers of the strategy, the first
/// of which is more significant. A choice among thousands mostly compares ranks, so a comparison
/// must be cheap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u64);

/// The position of the [`Availability`] in a [`Rank`]. The bits below belong to the strategy.
const CLASS_SHIFT: u32 = 62;
/// The largest first number of a rank.
const MAX_FIRST: u32 = (1 << (CLASS_SHIFT - 32)) - 1;

impl Rank {
    /// Worse than every candidate.
    pub(crate) const LAST: Self = Self(u64::MAX);

    pub(crate) fn new(class: Availability, first: u32, second: u32) -> Self {
        let number = u64::from(first.min(MAX_FIRST)) << 32 | u64::from(second);
        Self((class as u64) << CLASS_SHIFT | number)
    }

    pub(crate) fn class(self) -> Availability {
        availability(self.0 >> CLASS_SHIFT)
    }

    /// Describes the rank for people, its parts in order of significance.
    ///
    /// `by_session` is whether the request named a session. Without one the strategy `session`
    /// ranks by load.
    #[must_use]
    pub fn describe(self, strategy: Strategy, by_session: bool) -> String {
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
                format!("{} % taken, {}", percent(first, FRACTION_ONE), turn(second))
            }
            (Strategy::Session | Strategy::Prefix, _) => {
                let (affinity, unseen, share) = (
                    first >> TIE_KIND_SHIFT,
                    (first >> SHARE_BITS) & FULL_BYTE,
                    first & FULL_SHARE,
                );
                if affinity == TieKind::Conversation as u32 {
                    return "the conversation is held here".to_owned();
                }
                let hundredths = u64::from(share) * 100 / u64::from(SHARE_PER_CONVERSATION);
                let per_slot = format!(
                    "{}.{:02} conversations per slot",
                    hundredths / 100,
                    hundredths % 100
                );
                let (busy, tie) = (percent(second >> TIE_BITS, FULL_BYTE), second & FULL_TIE);
                let tie = if strategy == Strategy::Session {
                    format!(
                        "{} % away from the session's first choice",
                        percent(tie, FULL_TIE)
                    )
                } else {
                    turn(tie)
                };
                if affinity == TieKind::Prefix as u32 {
                    format!(
                        "{} % of the prompt unseen, {per_slot}, {busy} % taken, {tie}",
                        percent(unseen, FULL_BYTE)
                    )
                } else {
                    format!("{per_slot}, {busy} % taken, {tie}")
                }
            }
        }
    }

    /// The two numbers of the strategy, for programs.
    #[must_use]
    pub fn parts(self) -> [u32; 2] {
        let part = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default();
        [part(self.0 >> 32) & MAX_FIRST, part(self.0)]
    }
}

fn availability(bits: u64) -> Availability {
    match bits {
        0 => Availability::Ready,
        1 => Availability::ScaledToZero,
        2 => Availability::Full,
        _ => Availability::Unavailable,
    }
}

const FRACTION_BITS: u32 = 20;
/// The number 1 in fixed-point fractions.
pub(crate) const FRACTION_ONE: u32 = 1 << FRACTION_BITS;

/// Whether an endpoint can take a request, and the fraction of its slots that is used. Lower is
/// better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Utilization(u32);

impl Utilization {
    const CLASS_SHIFT: u32 = 30;
    /// Worse than every candidate.
    pub(crate) const LAST: Self = Self(u32::MAX);

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "equal fractions have equal quotients, and a float division takes a fifth of an \
                  integer division's time"
    )]
    pub(crate) fn new(summary: &EndpointSummary, load: Load) -> Self {
        let part = load.used as f32 / summary.slots_total.max(1) as f32;
        let part = (part.min(1.0) * FRACTION_ONE as f32) as u32;
        Self((Availability::new(summary, load) as u32) << Self::CLASS_SHIFT | part)
    }

    pub(crate) fn class(self) -> Availability {
        availability(u64::from(self.0 >> Self::CLASS_SHIFT))
    }

    /// The used fraction of the slots, in units of [`FRACTION_ONE`].
    pub(crate) fn fraction(self) -> u32 {
        self.0 & ((1 << Self::CLASS_SHIFT) - 1)
    }
}

/// Round-robin order: the candidate whose turn it is, and the distance of the others from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    start: u32,
    count: u32,
}

impl Turn {
    pub(crate) fn new(turn: u64, count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
        // The remainder of a division by a 32-bit number has 32 bits.
        let start = u32::try_from(turn % u64::from(count)).unwrap_or_default();
        Self { start, count }
    }

    /// The position whose turn it is.
    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    /// How many turns after the current one a candidate follows.
    pub(crate) fn offset_of(self, position: u32) -> u32 {
        if position >= self.start {
            position - self.start
        } else {
            position + (self.count - self.start)
        }
    }
}

// Each strategy has its own function instead of one `match`, because a choice ranks thousands of
// candidates by the same strategy.

pub(crate) fn least_loaded(summary: &EndpointSummary, load: Load) -> Rank {
    Rank::new(
        Availability::new(summary, load),
        MAX_FIRST.saturating_sub(summary.vram_gib),
        load.used,
    )
}

pub(crate) fn round_robin(busy: Utilization, offset: u32) -> Rank {
    Rank::new(busy.class(), 0, offset)
}

pub(crate) fn weighted(busy: Utilization, offset: u32) -> Rank {
    Rank::new(busy.class(), busy.fraction(), offset)
}

// The layout of a rank of the affinity strategies, most significant first: kind of tie (2 bits),
// the fraction of the prompt that the endpoint has not seen (8), conversations per slot (20), the
// used fraction of its slots (8), and a tie-breaker (24).

/// What ties a request to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TieKind {
    /// The endpoint holds its conversation.
    Conversation,
    /// The endpoint has seen much of its prompt, and has at most its fair share of conversations.
    Prefix,
    /// Nothing.
    None,
}

const TIE_KIND_SHIFT: u32 = 28;
const SHARE_BITS: u32 = 20;
const TIE_BITS: u32 = 24;
/// The largest 8-bit number.
const FULL_BYTE: u32 = u8::MAX as u32;
const FULL_SHARE: u32 = (1 << SHARE_BITS) - 1;
const FULL_TIE: u32 = (1 << TIE_BITS) - 1;
/// One conversation per slot. Shares above 64 per slot are indistinguishable: no engine caches that
/// many prompts for each slot, so above it the least busy endpoint is the best.
const SHARE_PER_CONVERSATION: u32 = 1 << 14;

/// The rank of an endpoint for a new conversation, without a tie-breaker.
pub(crate) fn spread(summary: &EndpointSummary, load: Load) -> Rank {
    let share = match load.conversations {
        // Most fleets hold none, and the division is slow.
        0 => 0,
        conversations => {
            let slots = u64::from(summary.slots_total.max(1));
            let share = u64::from(conversations) * u64::from(SHARE_PER_CONVERSATION) / slots;
            u32::try_from(share).map_or(FULL_SHARE, |share| share.min(FULL_SHARE))
        }
    };
    let busy = Utilization::new(summary, load);
    let busy_byte = (busy.fraction() >> (FRACTION_BITS - u8::BITS)).min(FULL_BYTE);
    let first = (TieKind::None as u32) << TIE_KIND_SHIFT | share;
    Rank::new(busy.class(), first, busy_byte << TIE_BITS)
}

impl Rank {
    /// The used fraction of the slots in a rank of [`spread`], in units of [`FRACTION_ONE`].
    pub(crate) fn busy(self) -> u32 {
        let [_, second] = self.parts();
        (second >> TIE_BITS) << (FRACTION_BITS - u8::BITS)
    }

    /// A rank of [`spread`] with a tie-breaker.
    pub(crate) fn with_tie(self, tie: u32) -> Self {
        Self(self.0 | u64::from(tie.min(FULL_TIE)))
    }

    /// A rank of [`spread`] for the endpoint that holds the conversation.
    pub(crate) fn sticky(self) -> Self {
        Rank::new(
            self.class(),
            (TieKind::Conversation as u32) << TIE_KIND_SHIFT,
            0,
        )
    }

    /// A rank of [`spread`] for an endpoint that has not seen the fraction `unseen` of the prompt.
    pub(crate) fn with_prefix(self, unseen: u32) -> Self {
        let [share, second] = self.parts();
        let unseen = (unseen >> (FRACTION_BITS - u8::BITS)).min(FULL_BYTE);
        let first =
            (TieKind::Prefix as u32) << TIE_KIND_SHIFT | unseen << SHARE_BITS | share & FULL_SHARE;
        Rank::new(self.class(), first, second)
    }
}

/// The distance of an endpoint from a session's first choice, by rendezvous hashing.
pub(crate) fn distance(session: u64, hash: u64) -> u32 {
    // The remaining bits fit.
    u32::try_from(!mix(session, hash) >> (u64::BITS - TIE_BITS)).unwrap_or(FULL_TIE)
}
