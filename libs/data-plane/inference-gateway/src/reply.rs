//! Answers of our own: one table from what went wrong to what a client sees.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::time::Duration;

use admission::{Refusal, RefusalReason};
use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, RETRY_AFTER},
};
use http_server::{ApiError, BodyError};
use pool_registry_types::{ErrorCode, headers};
use serde::Serialize;
use stream_proxy::{ForwardError, ResponseError};

use crate::{
    about::{About, tell},
    answer::GatewayBody,
    dialect::Dialect,
    peek::PeekError,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An error as `/v1` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    /// The field at fault.
    pub(crate) param: Option<&'static str>,
    pub(crate) retry_after: Option<Duration>,
    /// The methods that the route has.
    pub(crate) allow: Option<&'static str>,
    /// How many endpoints were tried, and how long the request waited, in milliseconds.
    pub(crate) spent: Option<(u32, u64)>,
}

impl Fault {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            param: None,
            retry_after: None,
            allow: None,
            spent: None,
        }
    }

    pub(crate) fn field(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            param: Some(param),
            ..Self::new(ErrorCode::InvalidRequest, message)
        }
    }

    /// The answer.
    pub(crate) fn into_response(self, dialect: Dialect) -> Response<GatewayBody> {
        let status =
            StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json(
            status,
            &dialect.error_body(self.code, &self.message, self.param),
        );
        if let Some(after) = self.retry_after {
            // Whole seconds in the one header (RFC 9110, 10.2.3), rounded up: too early is in vain.
            let seconds = after
                .as_secs()
                .saturating_add((after.subsec_nanos() > 0).into());
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
            let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            response
                .headers_mut()
                .insert(headers::BACKOFF_MS, HeaderValue::from(millis));
        }
        if let Some((attempts, queued)) = self.spent {
            response
                .headers_mut()
                .insert(headers::ATTEMPTS, HeaderValue::from(attempts));
            response
                .headers_mut()
                .insert(headers::QUEUE_MS, HeaderValue::from(queued));
        }
        if let Some(allow) = self.allow {
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response<GatewayBody> {
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(GatewayBody::whole(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

impl From<PeekError> for Fault {
    fn from(error: PeekError) -> Self {
        Self {
            param: error.field(),
            ..Self::new(ErrorCode::InvalidRequest, error.to_string())
        }
    }
}

impl From<BodyError> for Fault {
    fn from(error: BodyError) -> Self {
        let error = ApiError::from(error);
        Self::new(error.code, error.message)
    }
}

/// What a client is told when no slot could be had for `model`, which it may have called by an
/// alias.
pub(crate) fn refused(refusal: &Refusal, model: &str, alias: Option<&str>) -> Fault {
    let code = match refusal.reason {
        RefusalReason::UnknownModel => ErrorCode::ModelNotAvailable,
        RefusalReason::NoneRoutable | RefusalReason::Exhausted => ErrorCode::PoolUnavailable,
        RefusalReason::QueueFull => ErrorCode::QueueFull,
        RefusalReason::Deadline => ErrorCode::DeadlineExceeded,
    };
    let param = (refusal.reason == RefusalReason::UnknownModel).then_some("model");
    let message = match refusal.reason {
        RefusalReason::UnknownModel => {
            let called =
                alias.map_or_else(String::new, |alias| format!(", for which {alias:?} stands"));
            format!(
                "no node serves the model {model:?}{called}; GET /v1/models lists those there are"
            )
        }
        _ => refusal.to_string(),
    };
    Fault {
        param,
        retry_after: refusal.retry_after,
        ..Fault::new(code, message)
    }
}

/// What a client is told when the last try failed. Addresses of nodes are none of its business.
pub(crate) fn failed(error: &ForwardError, about: About<'_>) -> Fault {
    let (code, message) = match error {
        ForwardError::Connect { .. } | ForwardError::ConnectTimeout { .. } => (
            ErrorCode::NodeUnavailable,
            "the node that serves this model cannot be reached",
        ),
        ForwardError::Reset {
            source: ResponseError::Protocol(_),
            ..
        } => (
            ErrorCode::WorkerReset,
            "the engine's answer is not valid HTTP",
        ),
        ForwardError::Reset { .. } => (
            ErrorCode::WorkerReset,
            "the engine broke off before it answered",
        ),
        ForwardError::FirstByte { .. } => (
            ErrorCode::DeadlineExceeded,
            "the engine did not begin to answer within the time limit",
        ),
        ForwardError::Deadline { .. } => (
            ErrorCode::DeadlineExceeded,
            "the request's deadline passed before the engine answered",
        ),
        ForwardError::Local(source) => {
            tell!(warn, about, %source, "no connection can be opened: raise the limit of open files (ulimit -n)");
            (
                ErrorCode::PoolUnavailable,
                "this gateway cannot open more connections just now",
            )
        }
        ForwardError::OwnDelay { late, .. } => {
            tell!(
                warn,
                about,
                late_ms = late.as_millis(),
                "this process got no processor in time: give it more cores, or it less to do"
            );
            (
                ErrorCode::PoolUnavailable,
                "this gateway is overloaded just now",
            )
        }
    };
    Fault::new(code, message)
}
