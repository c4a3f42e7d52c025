//! A request for a slot, and the answers that are not a slot.

use std::{str::FromStr, sync::Arc, time::Duration};

use placement::{Affinity, Strategy};
use pool_registry_types::NodeId;
use routing_table::Endpoint;
use thiserror::Error;

/// A position in the order of arrival. A retry keeps the ticket of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub(crate) u64);

/// Which of two waiting requests is served first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// A person waits for the response.
    #[default]
    Interactive,
    /// No person waits. It is served after interactive requests, and gets a minimum share of slots.
    Batch,
}

impl Priority {
    /// The name in headers and task requests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}

/// The name is not one of a priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be interactive or batch")]
pub struct UnknownPriority;

impl FromStr for Priority {
    type Err = UnknownPriority;

    fn from_str(name: &str) -> Result<Self, UnknownPriority> {
        match name {
            "interactive" => Ok(Self::Interactive),
            "batch" => Ok(Self::Batch),
            _ => Err(UnknownPriority),
        }
    }
}

/// How an endpoint is chosen for a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoutingPreference {
    /// The strategy that ranks endpoints with a free slot.
    pub strategy: Strategy,
    /// The only node that may serve the request, if it is pinned.
    pub pin: Option<NodeId>,
    /// What the request has in common with others, for the affinity strategies.
    pub affinity: Affinity,
    /// The context that the request needs.
    pub context: ContextNeed,
}

/// The context length that a request needs, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContextNeed {
    /// An engine has refused the request: endpoints with a known context below this are skipped.
    pub at_least: Option<u32>,
    /// An estimate. Endpoints with a known context below this get the request only when no other
    /// can take it now.
    pub likely: Option<u32>,
}

/// A request for a slot.
#[derive(Debug, Clone)]
pub struct AcquireRequest<'a> {
    /// The requested model.
    pub model: &'a str,
    /// Which of two waiting requests is served first.
    pub priority: Priority,
    /// How an endpoint is chosen.
    pub preference: &'a Arc<RoutingPreference>,
    /// Endpoints that already failed this request. They are skipped, but a later incarnation of
    /// their node or a later generation of their engine may be tried.
    pub tried: &'a [Arc<Endpoint>],
    /// The ticket of an earlier attempt.
    pub ticket: Option<Ticket>,
    /// The requests that it shares its turns with.
    pub flow: Flow<'a>,
}

/// The requests of one key, which are served in turn with those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow<'a> {
    /// The key; requests without one are a flow as well.
    pub key: Option<&'a Arc<str>>,
    /// How many of its requests are served in one turn; at least one.
    pub weight: u32,
}

impl Default for Flow<'_> {
    /// The requests without a key.
    fn default() -> Self {
        Self {
            key: None,
            weight: 1,
        }
    }
}

/// How long a new request would wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitEstimate {
    /// A slot is free and no request is queued before it.
    pub is_free: bool,
    /// The number of requests that are served before it, as far as is known.
    pub ahead: usize,
    /// The time in which the queue advances by one request, at the recent rate of freed slots;
    /// `None` when no endpoint can serve the model now.
    pub time_per_request: Option<Duration>,
}

impl WaitEstimate {
    /// When a request with `ahead` others before it is served; `None` when that is unknown.
    #[must_use]
    pub fn starts_in(&self, ahead: usize) -> Option<Duration> {
        if self.is_free && ahead == 0 {
            return Some(Duration::ZERO);
        }
        let steps = u32::try_from(ahead).unwrap_or(u32::MAX).saturating_add(1);
        self.time_per_request.map(|time| time.saturating_mul(steps))
    }
}

/// Why a request gets no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RefusalReason {
    /// No endpoint serves the model.
    #[error("no node serves this model")]
    UnknownModel,
    /// The model is known, but no endpoint could serve it in time.
    #[error("no node that serves this model is available")]
    NoneRoutable,
    /// The request has tried every endpoint that could serve the model.
    #[error("every node that serves this model was tried")]
    Exhausted,
    /// Every slot is taken, and the queue is full or the wait was too long.
    #[error("every slot for this model is taken")]
    QueueFull,
    /// The request's own deadline passed while it waited.
    #[error("the request's deadline passed while it waited for a slot")]
    Deadline,
}

/// A refusal, and when a retry makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// When to retry, if it can be estimated from the queue and the recent rate of freed slots.
    pub retry_after: Option<Duration>,
}
