//! What a caller says and is told.

use std::{str::FromStr, sync::Arc, time::Duration};

use placement::{Affinity, Strategy};
use pool_registry_types::NodeId;
use routing_table::Endpoint;
use thiserror::Error;

/// How many requests may wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The most requests of each priority that wait for one model.
    pub queue_limit: usize,
    /// The longest a request waits for a slot, or for an endpoint that may be coming back.
    pub max_wait: Duration,
    /// For how long after the start an unknown model may still turn up: nodes that knew the
    /// previous control plane need a heartbeat to find this one.
    pub warm_up: Duration,
}

impl Config {
    /// What holds where nothing else is set.
    ///
    /// 256 per model (a fleet with 32 slots works through it in eight rounds), 5 s (a client's
    /// patience is mostly 10 s and more), no warm-up.
    pub const DEFAULT: Self = Self {
        queue_limit: 256,
        max_wait: Duration::from_secs(5),
        warm_up: Duration::ZERO,
    };
}

impl Default for Config {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A place in the order of arrival. A request that is tried again keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub(crate) u64);

/// Whose turn it is when both wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// A person waits for the answer.
    #[default]
    Interactive,
    /// Nobody waits; it is served when there is room, and in any case now and then.
    Batch,
}

impl Priority {
    /// As in headers and task requests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}

/// A name that is no priority.
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

/// Where a request would like to go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoutingPreference {
    /// How to choose among free endpoints.
    pub strategy: Strategy,
    /// Only this node will do.
    pub pin: Option<NodeId>,
    /// What it has in common with other requests; for strategies that look at it.
    pub affinity: Affinity,
}

/// A request for a slot.
#[derive(Debug, Clone)]
pub struct AcquireRequest<'a> {
    /// The model asked for.
    pub model: &'a str,
    /// Whose turn it is when others wait too.
    pub priority: Priority,
    /// Where it would like to go.
    pub wish: &'a Arc<RoutingPreference>,
    /// Endpoints where this request has already failed; it goes elsewhere. A later incarnation of
    /// one, or a later start of its engine, is another one.
    pub tried: &'a [Arc<Endpoint>],
    /// The ticket of an earlier try.
    pub ticket: Option<Ticket>,
}

/// What a request that comes now has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// A slot is free, and nobody stands before the request.
    pub is_free: bool,
    /// How many are served before it, as far as is known.
    pub ahead: usize,
    /// How long the line takes to move up by one, at the speed at which slots were freed lately;
    /// `None` when nobody can serve the model now.
    pub pace: Option<Duration>,
}

impl Outlook {
    /// When a request with `ahead` others before it is served; `None` when that cannot be told.
    #[must_use]
    pub fn starts_in(&self, ahead: usize) -> Option<Duration> {
        if self.is_free && ahead == 0 {
            return Some(Duration::ZERO);
        }
        let steps = u32::try_from(ahead).unwrap_or(u32::MAX).saturating_add(1);
        self.pace.map(|pace| pace.saturating_mul(steps))
    }
}

/// Why a request gets no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RefusalReason {
    /// Nobody serves the model.
    #[error("no node serves this model")]
    UnknownModel,
    /// The model is known, but nobody could serve it in time.
    #[error("no node that serves this model is available")]
    NoneRoutable,
    /// Every endpoint that could serve the model was tried.
    #[error("every node that serves this model was tried")]
    Exhausted,
    /// Every slot is taken, and the line is full or waiting took too long.
    #[error("every slot for this model is taken")]
    QueueFull,
    /// The request's own deadline passed while it waited.
    #[error("the request's deadline passed while it waited for a slot")]
    Deadline,
}

/// A refusal, and when trying again is worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// When to come back, where that can be told: the waiting line at the speed at which slots
    /// were freed lately.
    pub retry_after: Option<Duration>,
}
