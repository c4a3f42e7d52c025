//! Why there is no engine's answer, before anybody is told.

use pool_registry::{ClaimError, SlotLease};
use pool_registry_types::{ErrorCode, PoolId, ReplicaId};
use stream_proxy::{ForwardError, ResponseError};

/// Why there is no engine's answer.
#[derive(Debug)]
pub(crate) enum NotServed {
    /// There is no slot to be had.
    NoSlot {
        error: ClaimError,
        /// How many engines may have begun with the request before.
        executions: usize,
    },
    /// An engine was started for the request, and did not become ready in time. It may be for the
    /// next.
    StillAsleep {
        /// The time was the caller's own limit.
        is_callers: bool,
    },
    /// An engine did not answer.
    Unanswered(Unanswered),
}

impl NotServed {
    pub(crate) fn no_slot(error: ClaimError) -> Self {
        Self::NoSlot {
            error,
            executions: 0,
        }
    }

    /// Who comes again soon may be served.
    pub(crate) fn is_momentary(&self) -> bool {
        matches!(
            self,
            Self::NoSlot {
                error: ClaimError::Busy | ClaimError::Draining,
                ..
            }
        )
    }

    /// The same, after `executions` engines may have begun with the request.
    pub(crate) fn after(self, executions: usize) -> Self {
        match self {
            Self::NoSlot { error, .. } => Self::NoSlot { error, executions },
            other => other,
        }
    }

    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::NoSlot { error, .. } => error.code(),
            Self::StillAsleep { .. } => ErrorCode::DeadlineExceeded,
            Self::Unanswered(unanswered) => unanswered.code(),
        }
    }
}

/// An engine that did not answer, or not as HTTP knows it.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) pool_id: PoolId,
    pub(crate) replica_id: ReplicaId,
    pub(crate) error: ForwardError,
}

impl From<Unanswered> for NotServed {
    fn from(unanswered: Unanswered) -> Self {
        Self::Unanswered(unanswered)
    }
}

impl Unanswered {
    pub(crate) fn new(lease: &SlotLease, error: ForwardError) -> Self {
        Self {
            pool_id: lease.pool_id().clone(),
            replica_id: lease.replica_id().clone(),
            error,
        }
    }

    /// Nobody listens: the request cannot have reached the engine, so another one may be given it.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(
            self.error,
            ForwardError::Connect { .. } | ForwardError::ConnectTimeout { .. }
        )
    }

    /// The engine broke off before the first byte of its answer: it may have begun with the
    /// request, but nobody has seen anything of it.
    pub(crate) fn is_reset(&self) -> bool {
        matches!(self.error, ForwardError::Reset { .. })
    }

    /// Says it in the log. The spans of a request are off by default (see [`telemetry::REQUEST`]),
    /// so the line says itself to which request it belongs.
    pub(crate) fn log(&self, request_id: Option<&str>, model: Option<&str>) {
        tracing::info!(
            request_id,
            model,
            pool_id = %self.pool_id,
            replica_id = %self.replica_id,
            error = &self.error as &dyn std::error::Error,
            "an engine did not answer"
        );
    }

    pub(crate) fn code(&self) -> ErrorCode {
        match &self.error {
            ForwardError::Connect { .. }
            | ForwardError::ConnectTimeout { .. }
            | ForwardError::Local(_)
            | ForwardError::OwnDelay { .. } => ErrorCode::PoolUnavailable,
            ForwardError::Reset { .. } => ErrorCode::WorkerReset,
            ForwardError::FirstByte { .. } | ForwardError::Deadline { .. } => {
                ErrorCode::DeadlineExceeded
            }
        }
    }

    /// What happened, for people.
    pub(crate) fn message(&self) -> String {
        let engine = format!("engine {}/{}", self.pool_id, self.replica_id);
        match &self.error {
            ForwardError::Connect { .. } | ForwardError::ConnectTimeout { .. } => {
                format!("{engine} cannot be reached")
            }
            ForwardError::Local(_) => "this node cannot open more connections".to_owned(),
            ForwardError::OwnDelay { .. } => "this node is overloaded just now".to_owned(),
            ForwardError::Reset {
                source: ResponseError::Protocol(why),
                ..
            } => format!("the answer of {engine} is not valid HTTP: {why}"),
            ForwardError::Reset { .. } => format!("{engine} broke off before it answered"),
            ForwardError::FirstByte { .. } | ForwardError::Deadline { .. } => {
                format!("{engine} did not begin to answer in time")
            }
        }
    }
}
