//! The states of one engine.

use tokio::time::Instant;

use super::idle_timer::IdleTimer;
use crate::status::EnginePhase;

/// What follows when the process has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AfterExit {
    Stop,
    Restart,
    ScaleToZero,
    Start,
    Fail(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopSignal {
    FirstTerm,
    SecondTerm,
    Kill,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Stopped,
    Failed,
    Backoff {
        until: Instant,
    },
    Starting {
        until: Instant,
    },
    Ready {
        since: Instant,
        idle: Option<IdleTimer>,
    },
    ScaledToZero,
    Draining {
        until: Instant,
        then: AfterExit,
    },
    Terminating {
        signal: StopSignal,
        until: Instant,
        then: AfterExit,
    },
}

impl State {
    pub(super) fn phase(&self) -> EnginePhase {
        match self {
            Self::Stopped => EnginePhase::Stopped,
            Self::Failed => EnginePhase::Failed,
            Self::Backoff { .. } => EnginePhase::Backoff,
            Self::Starting { .. } => EnginePhase::Starting,
            Self::Ready { .. } => EnginePhase::Ready,
            Self::ScaledToZero => EnginePhase::ScaledToZero,
            Self::Draining { .. } => EnginePhase::Draining,
            Self::Terminating { .. } => EnginePhase::Stopping,
        }
    }

    /// When a tick is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Stopped | Self::Failed | Self::ScaledToZero => None,
            Self::Ready { idle, .. } => idle.as_ref().map(IdleTimer::next_check),
            Self::Backoff { until }
            | Self::Starting { until }
            | Self::Draining { until, .. }
            | Self::Terminating { until, .. } => Some(*until),
        }
    }
}
