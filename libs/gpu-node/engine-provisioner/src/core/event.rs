//! The events and effects of an engine, and the policy of its pool.

use std::time::Duration;

use pool_registry::PoolUsage;

use crate::spec::{PoolSpec, RestartPolicy};

/// An event of an engine, or a command for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EngineEvent {
    /// Start it.
    Start,
    /// Adopt the running process of an earlier agent.
    Adopt,
    /// It could not be started, with the reason.
    StartFailed(String),
    /// It takes requests.
    Ready,
    /// Its process ended.
    Exited {
        /// With exit code 0.
        clean: bool,
        /// How, for the operator.
        how: String,
    },
    /// The node has no request on it, and will send none.
    Drained,
    /// Stop it for good.
    Stop,
    /// Stop it, then start it with a fresh backoff.
    Restart,
    /// Offer it without starting it.
    ScaleToZero,
    /// The usage of its pool.
    UsageRead(PoolUsage),
    /// A request waits for it.
    Demanded,
    /// The deadline of the machine passed.
    Tick,
}

/// What to do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineEffect {
    /// Check what it needs, start it, and probe it until it is ready.
    Spawn,
    /// Probe the running process until it is ready.
    Probe,
    /// Write its handoff.
    WriteHandoff,
    /// Remove its handoff.
    RemoveHandoff,
    /// Offer it without a handoff, and wait for demand.
    OfferScaledToZero,
    /// Withdraw the offer; requests that wait get the reason.
    WithdrawOffer,
    /// Read the usage of its pool.
    ReadUsage,
    /// Wait until no request is on it.
    AwaitDrained,
    /// SIGTERM to its process group.
    Terminate,
    /// SIGKILL to its process group.
    Kill,
    /// The process is gone: kill the rest of its process group, and remove its record.
    CleanUp,
}

/// The restart policy and timeouts of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) restart: RestartPolicy,
    pub(crate) ready_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) stop_grace: Duration,
    /// How long its pool must be idle before it is scaled to zero.
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
