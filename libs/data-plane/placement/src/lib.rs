//! Where a request goes: a pure choice over the routing table, with reasons.
//!
//! The caller provides the table (what the control plane knows), the [`Loads`] of its endpoints
//! (what the data path knows) and a [`PlacementQuery`]. The result is the index of an endpoint with
//! a free slot, or the reason why there is none. The crate does no I/O and has no clock and no
//! lock: equal inputs give equal results.
//!
//! [`choose`] is fast, [`explain`] gives the reasons; both apply the same rules. [`Conversations`]
//! and [`PrefixIndex`] remember where requests went: the caller queries them before a choice and
//! updates them after it.

mod affinity;
mod choice;
mod conversations;
mod explain;
mod load;
mod loads;
mod prefix;
mod query;
mod rank;
mod strategy;

pub use affinity::{Affinity, ChatBlocks, MAX_BLOCKS, prompt_blocks, session_key};
pub use choice::{choose, sticky_endpoint};
pub use conversations::Conversations;
pub use explain::explain;
pub use load::Load;
pub use loads::Loads;
pub use prefix::{PrefixIndex, PrefixMatch};
pub use query::{Candidate, PlacementError, PlacementQuery, SkipReason};
pub use rank::Rank;
pub use strategy::{Strategy, UnknownStrategy};

#[cfg(test)]
mod tests;

/// The README's examples are compiled with the tests, and run where possible.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
