//! The load of one endpoint, and whether it can take a request.

use routing_table::{EndpointState, EndpointSummary};

/// The load of an endpoint as the data path knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Used slots, by requests of this process and of others.
    pub used: u32,
    /// Conversations that it holds, see [`Conversations`](crate::Conversations).
    pub conversations: u32,
    /// Its circuit breaker is open and admits no probe yet.
    pub breaker_open: bool,
}

/// Whether an endpoint can take a request, best first.
///
/// Strategies compare it before everything else: to start an engine costs more than any strategy
/// gains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Availability {
    /// It has a free slot.
    Ready,
    /// It has a free slot, and must start its engine first.
    ScaledToZero,
    /// All its slots are used.
    Full,
    /// It drains, is not ready, or its circuit breaker is open.
    Unavailable,
}

impl Availability {
    pub(crate) fn new(summary: &EndpointSummary, load: Load) -> Self {
        let with_free_slot = match summary.state {
            EndpointState::Ready => Self::Ready,
            EndpointState::ScaledToZero => Self::ScaledToZero,
            EndpointState::Draining | EndpointState::NotReady => return Self::Unavailable,
        };
        if load.breaker_open {
            Self::Unavailable
        } else if load.used >= summary.slots_total {
            Self::Full
        } else {
            with_free_slot
        }
    }
}
