//! What the control plane is told over HTTP: this node's slots, or why there is no engine's answer.

use axum::{body::Body as ControlBody, response::IntoResponse as _};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header::ALLOW};
use http_server::ApiError;
use pool_registry::Slots;
use pool_registry_types::{ErrorCode, PoolId, ReplicaId, headers};

use crate::not_served::NotServed;

/// What engines may be asked for with.
const METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// An error, and the pool's slots where there is a pool.
pub(crate) struct Refusal {
    error: ApiError,
    slots: Option<Slots>,
    /// How many engines may have begun with the request.
    executions: usize,
    /// The engine that it is about.
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
    pub(crate) fn new(pool: &PoolId, why: &NotServed, slots: Option<Slots>) -> Self {
        let (message, executions) = match why {
            NotServed::NoSlot { error, executions } => {
                (format!("pool {pool}: {error}"), *executions)
            }
            NotServed::StillAsleep { .. } => (
                format!("pool {pool}: its engine was asleep and did not wake in time"),
                0,
            ),
            NotServed::Unanswered(unanswered) => (unanswered.message(), 0),
        };
        Self {
            error: ApiError::new(why.code(), message),
            slots,
            executions,
            replica: match why {
                NotServed::Unanswered(unanswered) => Some(unanswered.replica_id.clone()),
                NotServed::NoSlot { .. } | NotServed::StillAsleep { .. } => None,
            },
        }
    }

    pub(crate) fn code(&self) -> ErrorCode {
        self.error.code
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
            response
                .headers_mut()
                .insert(headers::EXECUTIONS, executions);
        }
        let replica = self.replica.as_ref();
        if let Some(replica) =
            replica.and_then(|replica| HeaderValue::from_str(replica.as_str()).ok())
        {
            response.headers_mut().insert(headers::REPLICA, replica);
        }
        if let Some(slots) = self.slots {
            insert_slots(
                response.headers_mut(),
                slots,
                [headers::SLOTS_FREE, headers::SLOTS_TOTAL],
            );
        }
        response
    }
}

/// Adds free and total slots to an answer, under these two names.
pub(crate) fn insert_slots(answer: &mut HeaderMap, slots: Slots, [free, total]: [HeaderName; 2]) {
    answer.insert(free, HeaderValue::from(slots.free));
    answer.insert(total, HeaderValue::from(slots.total));
}
