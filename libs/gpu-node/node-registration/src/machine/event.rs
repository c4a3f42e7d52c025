//! The inputs and outputs of the machine.

use std::time::Duration;

/// An event, its time, and a random number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Input {
    /// What happened.
    pub(crate) event: RegistrationEvent,
    /// Its time on a monotonic clock with any origin.
    pub(crate) now: Duration,
    /// A fresh random number in `0.0..1.0`.
    pub(crate) jitter: f64,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RegistrationEvent {
    /// Time passed.
    Tick,
    /// Readiness, draining or slots of a pool changed.
    StateChanged,
    /// Send nothing more; deregister if that can begin before `deregister_by`.
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
    /// Outcome: the node was deregistered.
    Deregistered,
    /// Outcome: the request failed.
    Failed(RequestFailure),
}

/// How a request failed, by the reaction to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestFailure {
    /// No answer, or a temporary refusal: retry soon, at the next address.
    Unavailable { retry_after: Option<Duration> },
    /// The control plane forgot the node: register again.
    UnknownNode,
    /// A later incarnation of this node has registered: stop.
    Superseded,
    /// Another machine uses this node id: an operator must act.
    Conflict,
    /// The heartbeat is too large for the control plane, or for a proxy before it.
    TooLarge,
    /// A refusal that lasts until an operator changes something.
    Refused,
}

/// A request to the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlPlaneRequest {
    /// Register this node.
    Register,
    /// Report its state; `seq` rises with each heartbeat.
    Heartbeat { seq: u64 },
    /// Deregister.
    Deregister,
}

/// A request to send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutgoingRequest {
    /// What to send.
    pub(crate) request: ControlPlaneRequest,
    /// To which address, as an index into the configured list.
    pub(crate) endpoint: usize,
}
