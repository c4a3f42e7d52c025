//! A node's refusals over HTTP, with the pool's slots.

use axum::{body::Body as ControlBody, response::IntoResponse as _};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header::ALLOW};
use http_server::ApiError;
use pool_registry::Slots;
use pool_registry_types::{ErrorCode, PoolId, ReplicaId, headers};
use request_forwarding::number;
use stream_proxy::ForwardError;

use crate::dispatch_error::DispatchError;

/// The methods that engines accept.
const METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// An error, and the pool's slots where the pool exists.
pub(crate) struct Refusal {
    error: ApiError,
    slots: Option<Slots>,
    /// How many engines may have started the request.
    executions: usize,
    /// The engine at fault.
    replica: Option<ReplicaId>,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self {
            error,
            slots: None,
            executions: 0,
            replica: None,
        }
    }
}

impl Refusal {
    pub(crate) fn new(pool: &PoolId, error: &DispatchError, slots: Option<Slots>) -> Self {
        let (message, executions, replica) = match error {
            DispatchError::NoSlot { error, executions } => {
                (format!("pool {pool}: {error}"), *executions, None)
            }
            DispatchError::StillAsleep { .. } => (
                format!("pool {pool}: its engine was asleep and did not become ready in time"),
                0,
                None,
            ),
            // The engine may have begun with a request whose connection was given up.
            DispatchError::Engine(failure) if failure.is_own() => (
                failure.message(),
                usize::from(matches!(failure.error, ForwardError::OwnDelay { .. })),
                None,
            ),
            DispatchError::Engine(failure) => {
                (failure.message(), 0, Some(failure.replica_id.clone()))
            }
        };
        Self {
            error: ApiError::new(error.code(), message),
            slots,
            executions,
            replica,
        }
    }

    pub(crate) fn code(&self) -> ErrorCode {
        self.error.code
    }

    pub(crate) fn into_response(self) -> Response<ControlBody> {
        let code = HeaderValue::from_static(self.error.code.as_str());
        let mut response = self.error.into_response();
        let status = response.status();
        let headers = response.headers_mut();
        headers.insert(headers::REFUSAL, code);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, METHODS);
        }
        if self.executions > 0 {
            headers.insert(headers::EXECUTIONS, HeaderValue::from(self.executions));
        }
        let replica = self.replica.as_ref();
        if let Some(replica) = replica.and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
            headers.insert(headers::REPLICA, replica);
        }
        if let Some(slots) = self.slots {
            insert_slots(headers, slots, [headers::SLOTS_FREE, headers::SLOTS_TOTAL]);
        }
        response
    }
}

/// Adds free and total slots to a response, under these two names.
pub(crate) fn insert_slots(headers: &mut HeaderMap, slots: Slots, [free, total]: [HeaderName; 2]) {
    headers.insert(free, number(slots.free.into()));
    headers.insert(total, number(slots.total.into()));
}
