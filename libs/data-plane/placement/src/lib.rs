//! Where a request goes: a pure choice over the routing table, with reasons.
//!
//! The caller brings the table (what the control plane knows), the [`Loads`] of its endpoints (what
//! the data path knows) and a [`PlacementQuery`]; it gets the index of an endpoint with a free
//! slot, or the reason why there is none. No I/O, no clock and no lock: the same input always gives
//! the same answer.
//!
//! [`choose`] is the fast way, [`explain`] the one with the reasons; both judge by the same rules.
//! [`Conversations`] and [`PrefixIndex`] remember where requests went; the caller asks them before
//! a choice and tells them after it.

mod affinity;
mod choice;
mod conversations;
mod loads;
mod prefix;
mod rank;
mod strategy;

use std::sync::Arc;

use pool_registry_types::NodeId;
use routing_table::{Endpoint, Report};
use thiserror::Error;

pub use affinity::{Affinity, ChatBlocks, MAX_BLOCKS, prompt_blocks, session_key};
pub use choice::{at_home, choose, explain};
pub use conversations::Conversations;
pub use loads::Loads;
pub use prefix::{PrefixIndex, PrefixMatch};
pub use rank::Rank;
pub use strategy::{Strategy, UnknownStrategy};

/// What the data path knows of an endpoint at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Slots that are taken, by us or by others.
    pub used: u32,
    /// Conversations that are held there, see [`Conversations`].
    pub conversations: u32,
    /// The data path has seen it fail and sends it nothing yet.
    pub quarantined: bool,
}

/// What is to be placed.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlacementQuery<'a> {
    /// The model asked for.
    pub model: &'a str,
    /// How to choose.
    pub strategy: Strategy,
    /// Endpoints that this request has already tried, by index; it goes elsewhere.
    pub tried: &'a [u32],
    /// Rises with each request; what round-robin counts by.
    pub turn: u64,
    /// Only this node will do.
    pub pin: Option<&'a NodeId>,
    /// The conversation it belongs to, see [`session_key`].
    pub session: Option<u64>,
    /// Which endpoints have seen how much of its prompt.
    pub prefix: Option<&'a PrefixMatch>,
    /// The endpoint that holds its conversation, as [`Conversations`] knows it.
    pub home: Option<u64>,
}

/// Why an endpoint was not chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// It takes no new work.
    Draining,
    /// The control plane says that it cannot serve.
    NotReady,
    /// The data path has seen it fail.
    Quarantined,
    /// The request asks for another node.
    NotPinned,
    /// This request has been there.
    Tried,
    /// All its slots are taken.
    Full,
}

impl Skip {
    /// In a word, for people and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::NotReady => "not ready",
            Self::Quarantined => "quarantined after failures",
            Self::NotPinned => "not the node the request is pinned to",
            Self::Tried => "already tried",
            Self::Full => "no free slot",
        }
    }
}

/// Why a request has no place now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoPlace {
    /// Nobody serves the model.
    #[error("no endpoint serves the model")]
    UnknownModel,
    /// Endpoints serve the model, but none may be given the request.
    #[error("no endpoint that serves the model is available")]
    NoneRoutable,
    /// Those that may be given the request have no free slot.
    #[error("every slot for the model is taken")]
    Full,
}

/// One candidate as the choice saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its index in the table.
    pub index: u32,
    /// The endpoint.
    pub endpoint: &'a Arc<Endpoint>,
    /// What was last reported of it.
    pub report: &'a Report,
    /// Its load.
    pub load: Load,
    /// Where it stands; the lowest of those that can be chosen is, and of equal ones the first.
    pub rank: Rank,
    /// Why it cannot be chosen; `None` when it can.
    pub skip: Option<Skip>,
}

#[cfg(test)]
mod tests;

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
