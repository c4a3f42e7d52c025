//! What the machine is told and what it asks for.

use std::time::Duration;

/// One thing that happened, when, and the chance that goes with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Input {
    /// What happened.
    pub(crate) event: Event,
    /// When, on a monotonic clock that starts anywhere. Never goes back.
    pub(crate) now: Duration,
    /// A fresh random number in `0.0..1.0`.
    pub(crate) jitter: f64,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Event {
    /// Time passed.
    Tick,
    /// Readiness, draining or slots of a pool changed.
    StateChanged,
    /// Send nothing more; take the registration back if that can begin before `deregister_by`.
    Stop { deregister_by: Option<Duration> },
    /// Outcome: the registration was accepted.
    Registered {
        next_heartbeat: Option<Duration>,
        timeout: Option<Duration>,
    },
    /// Outcome: the heartbeat was accepted.
    HeartbeatAccepted {
        next_heartbeat: Duration,
        /// After how much silence the node counts as offline; `None` from a control plane of
        /// version 0.1.0.
        timeout: Option<Duration>,
    },
    /// Outcome: the registration was taken back.
    Deregistered,
    /// Outcome: the request failed.
    Failed(Failure),
}

/// How a request failed, by what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No answer, or one that says "later": try soon, and elsewhere.
    Unavailable { retry_after: Option<Duration> },
    /// The control plane forgot the node: register again.
    UnknownNode,
    /// A later life of this node has registered: give way.
    Superseded,
    /// Another machine uses this node id: a person must choose.
    Conflict,
    /// The heartbeat is larger than what the control plane, or a proxy before it, takes.
    TooLarge,
    /// The answer is no, and will be until a person changes something.
    Refused,
}

/// A request to the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Say who this node is.
    Register,
    /// Say how its pools are; `seq` rises with each.
    Heartbeat { seq: u64 },
    /// Take the registration back.
    Deregister,
}

/// A request to send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Send {
    /// What to send.
    pub(crate) request: Request,
    /// To which address, as an index into the configured list.
    pub(crate) endpoint: usize,
}
