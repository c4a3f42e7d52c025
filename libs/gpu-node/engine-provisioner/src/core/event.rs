//! What happens to an engine, what follows from it, and how patient its supervisor is.

use std::time::Duration;

use pool_registry::PoolUsage;

use crate::{PoolSpec, RestartPolicy};

/// What happened to the engine, or what somebody wants of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// It is to run.
    Start,
    /// It is to run, and a process of an earlier agent does.
    Adopt,
    /// It could not be started, and why.
    Refused(String),
    /// It takes requests.
    Ready,
    /// Its process ended: with exit code 0 or otherwise, and how.
    Exited {
        /// Exit code 0.
        clean: bool,
        /// For the operator.
        how: String,
    },
    /// No request of the node is with it, and none will come.
    Quiet,
    /// It is to end and to stay so.
    Stop,
    /// It is to end and to start afresh.
    Restart,
    /// It is to be offered, and to start when somebody needs it.
    Doze,
    /// Its pool has been used so much.
    Used(PoolUsage),
    /// Somebody waits for it.
    Wanted,
    /// The [`deadline`](Machine::deadline) passed.
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Check what it needs, start it, and ask it until it is ready.
    Spawn,
    /// Ask the process that runs until it is ready.
    Probe,
    /// Write its handoff.
    Announce,
    /// Remove its handoff.
    Retract,
    /// Offer it without a handoff: say what it will be when somebody needs it, and listen for that.
    Promise,
    /// Take that back: say why, to those who wait.
    Forsake,
    /// Look how much its pool has been used.
    Look,
    /// Wait until no request is with it.
    AwaitQuiet,
    /// SIGTERM to its process group.
    Terminate,
    /// SIGKILL to its process group.
    Kill,
    /// It is gone: end what is left of its process group, and forget the process.
    Forget,
}

/// How patient the supervisor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) restart: RestartPolicy,
    pub(crate) ready_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) stop_grace: Duration,
    /// How long its pool must be idle before it is stopped until somebody needs it.
    pub(crate) sleep_after: Option<Duration>,
}

impl From<&PoolSpec> for Policy {
    fn from(spec: &PoolSpec) -> Self {
        Self {
            restart: spec.restart,
            ready_timeout: spec.ready_timeout,
            drain_timeout: spec.drain_timeout,
            stop_grace: spec.stop_grace,
            sleep_after: spec.sleep_after,
        }
    }
}
