//! What the control plane is told when there is no engine's answer.

use axum::{body::Body as ControlBody, response::IntoResponse as _};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header::ALLOW};
use http_server::{ApiError, RequestId};
use pool_registry::{ClaimError, PoolSlots, SlotLease};
use pool_registry_types::{ErrorCode, PoolId, headers};
use stream_proxy::{BrokenAnswer, ForwardError};

/// What engines may be asked for with.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// An error, and the pool's slots where there is a pool.
pub(crate) struct Refusal {
    error: ApiError,
    slots: Option<PoolSlots>,
    /// How many engines may have begun with the request.
    executions: usize,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self {
            error,
            slots: None,
            executions: 0,
        }
    }
}

impl Refusal {
    /// There is no slot to be had.
    pub(crate) fn no_slot(pool: &PoolId, error: &ClaimError, slots: Option<PoolSlots>) -> Self {
        Self {
            error: ApiError::new(error.code(), format!("pool {pool}: {error}")),
            slots,
            executions: 0,
        }
    }

    /// An engine was started for the request, and did not become ready in time. It may be for the next.
    pub(crate) fn asleep(pool: &PoolId, slots: Option<PoolSlots>) -> Self {
        Self {
            error: ApiError::new(
                ErrorCode::DeadlineExceeded,
                format!("pool {pool}: its engine was asleep and did not wake in time"),
            ),
            slots,
            executions: 0,
        }
    }

    pub(crate) fn code(&self) -> ErrorCode {
        self.error.code
    }

    /// Who comes again soon may be served.
    pub(crate) fn is_momentary(&self) -> bool {
        matches!(self.error.code, ErrorCode::PoolBusy | ErrorCode::PoolDraining)
    }

    /// The engine of `lease` did not answer, or not as HTTP knows it.
    pub(crate) fn no_answer(lease: &SlotLease, why: &NoAnswer) -> Self {
        Self {
            error: why.error(&format!("engine {}/{}", lease.pool_id(), lease.replica_id())),
            slots: Some(lease.pool_slots()),
            executions: 0,
        }
    }

    /// The same, after `executions` engines may have begun with the request.
    pub(crate) fn after(self, executions: usize) -> Self {
        Self { executions, ..self }
    }

    pub(crate) fn into_response(self) -> Response<ControlBody> {
        let code = HeaderValue::from_static(self.error.code.as_str());
        let mut response = self.error.into_response();
        response.headers_mut().insert(headers::REFUSAL, code);
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, METHODS);
        }
        if self.executions > 0 {
            let executions = HeaderValue::from(self.executions);
            response.headers_mut().insert(headers::EXECUTIONS, executions);
        }
        if let Some(slots) = self.slots {
            tell(response.headers_mut(), slots);
        }
        response
    }
}

/// Says how many slots the pool has and how many are free.
pub(crate) fn tell(answer: &mut HeaderMap, slots: PoolSlots) {
    answer.insert(headers::SLOTS_FREE, HeaderValue::from(slots.free));
    answer.insert(headers::SLOTS_TOTAL, HeaderValue::from(slots.total));
}

/// Whom a line of the log is about. The spans of a request are off by default (see [`telemetry::REQUEST`]), so each line says
/// itself to which request it belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) request_id: Option<&'a RequestId>,
    pub(crate) model: Option<&'a str>,
}

impl<'a> About<'a> {
    pub(crate) fn request_id(self) -> Option<&'a str> {
        self.request_id.map(RequestId::as_str)
    }
}

/// What happened instead of an answer.
#[derive(Debug)]
pub(crate) struct NoAnswer(pub(crate) ForwardError);

impl NoAnswer {
    /// Nobody listens: the request cannot have reached the engine, so another one may be given it.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(
            self.0,
            ForwardError::Connect { .. } | ForwardError::ConnectTimeout { .. }
        )
    }

    /// The engine broke off before the first byte of its answer: it may have begun with the request, but nobody has
    /// seen anything of it.
    pub(crate) fn is_reset(&self) -> bool {
        matches!(self.0, ForwardError::Reset { .. })
    }

    /// Says it in the log.
    pub(crate) fn log(&self, lease: &SlotLease, about: About<'_>) {
        tracing::info!(
            request_id = about.request_id(),
            model = about.model,
            pool_id = %lease.pool_id(),
            replica_id = %lease.replica_id(),
            error = &self.0 as &dyn std::error::Error,
            "an engine did not answer"
        );
    }

    fn error(&self, engine: &str) -> ApiError {
        let (code, message) = match &self.0 {
            ForwardError::Connect { .. } | ForwardError::ConnectTimeout { .. } => {
                (ErrorCode::PoolUnavailable, format!("{engine} cannot be reached"))
            }
            ForwardError::Local(_) => (
                ErrorCode::PoolUnavailable,
                "this node cannot open more connections".to_owned(),
            ),
            ForwardError::OwnDelay { .. } => (
                ErrorCode::PoolUnavailable,
                "this node is overloaded just now".to_owned(),
            ),
            ForwardError::Reset {
                source: BrokenAnswer::NotHttp(why),
                ..
            } => (
                ErrorCode::WorkerReset,
                format!("the answer of {engine} is not valid HTTP: {why}"),
            ),
            ForwardError::Reset { .. } => (
                ErrorCode::WorkerReset,
                format!("{engine} broke off before it answered"),
            ),
            ForwardError::FirstByte { .. } | ForwardError::Deadline { .. } => (
                ErrorCode::DeadlineExceeded,
                format!("{engine} did not begin to answer in time"),
            ),
        };
        ApiError::new(code, message)
    }
}
