//! Why no engine served a request.

use pool_registry::{ClaimError, SlotLease};
use pool_registry_types::{ErrorCode, PoolId, ReplicaId};
use stream_proxy::{ForwardError, ResponseError};

/// Why no engine served a request.
#[derive(Debug)]
pub(crate) enum DispatchError {
    /// No slot is available.
    NoSlot {
        error: ClaimError,
        /// How many engines may have started the request before.
        executions: usize,
    },
    /// An engine was started for the request, and did not become ready in time. It may be ready for
    /// the next request.
    StillAsleep {
        /// The caller's own deadline passed.
        is_deadline: bool,
    },
    /// An engine failed.
    Engine(EngineFailure),
}

impl DispatchError {
    pub(crate) fn no_slot(error: ClaimError) -> Self {
        Self::NoSlot {
            error,
            executions: 0,
        }
    }

    /// Whether another attempt soon may be served.
    pub(crate) fn is_momentary(&self) -> bool {
        matches!(
            self,
            Self::NoSlot {
                error: ClaimError::Busy | ClaimError::Draining,
                ..
            }
        )
    }

    /// The same error, after `executions` engines may have started the request.
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
            Self::Engine(failure) => failure.code(),
        }
    }
}

/// An engine that sent no valid HTTP response.
#[derive(Debug)]
pub(crate) struct EngineFailure {
    pub(crate) pool_id: PoolId,
    pub(crate) replica_id: ReplicaId,
    pub(crate) error: ForwardError,
}

impl From<EngineFailure> for DispatchError {
    fn from(failure: EngineFailure) -> Self {
        Self::Engine(failure)
    }
}

impl EngineFailure {
    pub(crate) fn new(lease: &SlotLease, error: ForwardError) -> Self {
        Self {
            pool_id: lease.pool_id().clone(),
            replica_id: lease.replica_id().clone(),
            error,
        }
    }

    /// No connection: the request cannot have reached the engine, so another one may get it.
    pub(crate) fn is_unsent(&self) -> bool {
        self.is_unreachable() || matches!(self.error, ForwardError::AcceptQueueFull { .. })
    }

    /// No connection, and the engine is at fault. An engine that has no room for a connection at
    /// the moment is not.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(
            self.error,
            ForwardError::Connect { .. } | ForwardError::ConnectTimeout { .. }
        )
    }

    /// This node is at fault, and not the engine.
    pub(crate) fn is_own(&self) -> bool {
        matches!(
            self.error,
            ForwardError::Local(_) | ForwardError::OwnDelay { .. }
        )
    }

    /// The connection ended before the first byte of the response. The engine may have started the
    /// request, but the client has seen nothing of it.
    pub(crate) fn is_reset(&self) -> bool {
        matches!(self.error, ForwardError::Reset { .. })
    }

    /// Logs the failure. Request spans are off by default (see [`telemetry::REQUEST`]), so the line
    /// names its request itself.
    pub(crate) fn log(&self, request_id: Option<&str>, model: Option<&str>) {
        tracing::info!(
            request_id,
            model,
            pool_id = %self.pool_id,
            replica_id = %self.replica_id,
            error = &self.error as &dyn std::error::Error,
            "an engine did not respond"
        );
    }

    pub(crate) fn code(&self) -> ErrorCode {
        match &self.error {
            ForwardError::Connect { .. } | ForwardError::ConnectTimeout { .. } => {
                ErrorCode::PoolUnavailable
            }
            // This node is at its own limit, or the engine has no room: both are busy.
            ForwardError::Local(_)
            | ForwardError::OwnDelay { .. }
            | ForwardError::AcceptQueueFull { .. } => ErrorCode::PoolBusy,
            ForwardError::Reset { .. } => ErrorCode::WorkerReset,
            ForwardError::FirstByte { .. } | ForwardError::Deadline { .. } => {
                ErrorCode::DeadlineExceeded
            }
        }
    }

    /// The failure in words.
    pub(crate) fn message(&self) -> String {
        let engine = format!("engine {}/{}", self.pool_id, self.replica_id);
        match &self.error {
            ForwardError::Connect { .. } | ForwardError::ConnectTimeout { .. } => {
                format!("{engine} cannot be reached")
            }
            ForwardError::AcceptQueueFull { .. } => {
                format!("{engine} has no room for a new connection at the moment")
            }
            ForwardError::Local(_) => "this node cannot open more connections".to_owned(),
            ForwardError::OwnDelay { .. } => "this node is overloaded at the moment".to_owned(),
            ForwardError::Reset {
                source: ResponseError::Protocol(why),
                ..
            } => format!("the response of {engine} is not valid HTTP: {why}"),
            ForwardError::Reset { .. } => {
                format!("{engine} closed the connection before it responded")
            }
            ForwardError::FirstByte { .. } | ForwardError::Deadline { .. } => {
                format!("{engine} did not start to respond in time")
            }
        }
    }
}
