//! The input of a choice, and its possible results.

use std::sync::Arc;

use pool_registry_types::NodeId;
use routing_table::{Endpoint, EndpointReport};
use thiserror::Error;

use crate::{load::Load, prefix::PrefixMatch, rank::Rank, strategy::Strategy};

/// A request to be placed.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlacementQuery<'a> {
    /// The requested model.
    pub model: &'a str,
    /// How to choose among available endpoints.
    pub strategy: Strategy,
    /// Indices of the endpoints that this request has already tried. They are skipped.
    pub tried: &'a [u32],
    /// The round-robin counter. It increases with each request.
    pub turn: u64,
    /// The only node that may serve the request, if it is pinned.
    pub pin: Option<&'a NodeId>,
    /// The session of the request, see [`session_key`](crate::session_key).
    pub session: Option<u64>,
    /// Which endpoints have seen how much of the prompt.
    pub prefix: Option<&'a PrefixMatch>,
    /// The hash of the endpoint that holds the conversation, from
    /// [`Conversations`](crate::Conversations).
    pub sticky: Option<u64>,
}

/// Why an endpoint cannot take the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// It accepts no new requests.
    Draining,
    /// The control plane reports that it cannot serve.
    NotReady,
    /// Its circuit breaker is open.
    BreakerOpen,
    /// The request is pinned to another node.
    NotPinned,
    /// The request has tried it before.
    Tried,
    /// All its slots are used.
    Full,
}

impl SkipReason {
    /// A short text for people and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::NotReady => "not ready",
            Self::BreakerOpen => "circuit breaker open after failures",
            Self::NotPinned => "not the node to which the request is pinned",
            Self::Tried => "already tried",
            Self::Full => "no free slot",
        }
    }
}

/// Why no endpoint can take a request now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PlacementError {
    /// No endpoint serves the model.
    #[error("no endpoint serves the model")]
    UnknownModel,
    /// Endpoints serve the model, but none of them accepts requests.
    #[error("no endpoint that serves the model is available")]
    NoneRoutable,
    /// The endpoints that accept requests have no free slot.
    #[error("every slot for the model is taken")]
    Full,
}

/// One candidate for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its index in the table.
    pub index: u32,
    /// The endpoint.
    pub endpoint: &'a Arc<Endpoint>,
    /// Its last report.
    pub report: &'a EndpointReport,
    /// Its load.
    pub load: Load,
    /// Its rank. Of the candidates that are not skipped, the first one with the lowest rank is
    /// chosen.
    pub rank: Rank,
    /// Why it cannot be chosen; `None` when it can.
    pub skip: Option<SkipReason>,
}
