//! Errors of the gateway, and the table from what went wrong to what a client is told.

use std::{borrow::Cow, time::Duration};

use admission::{Refusal, RefusalReason};
use http_server::{ApiError, BodyError};
use key_limits::LimitExceeded;
use pool_registry_types::ErrorCode;
use stream_proxy::{ForwardError, ResponseError};

use crate::{
    log_context::{LogContext, log_request},
    peek::PeekError,
    route,
};

/// How much of an unknown path an error repeats.
const MAX_ECHO_CHARS: usize = 100;

/// An error as `/v1` reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GatewayError {
    pub(crate) code: ErrorCode,
    pub(crate) message: Cow<'static, str>,
    /// The field or header at fault.
    pub(crate) param: Option<&'static str>,
    pub(crate) retry_after: Option<Duration>,
    /// The methods that the route has.
    pub(crate) allow: Option<&'static str>,
}

impl GatewayError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            param: None,
            retry_after: None,
            allow: None,
        }
    }

    /// A field or header of the request is missing or not valid.
    pub(crate) fn invalid(param: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            param: Some(param),
            ..Self::new(ErrorCode::InvalidRequest, message)
        }
    }

    /// No slot could be had for `model`, which the client may have called by an alias.
    pub(crate) fn no_slot(refusal: &Refusal, model: &str, alias: Option<&str>) -> Self {
        let code = match refusal.reason {
            RefusalReason::UnknownModel => {
                let stands_for = alias.map_or_else(String::new, |alias| {
                    format!(", for which the alias {alias:?} stands")
                });
                return Self::unknown_model(model, &stands_for);
            }
            RefusalReason::NoneRoutable | RefusalReason::Exhausted => ErrorCode::PoolUnavailable,
            RefusalReason::QueueFull => ErrorCode::QueueFull,
            RefusalReason::Deadline => ErrorCode::DeadlineExceeded,
        };
        Self {
            retry_after: refusal.retry_after,
            ..Self::new(code, refusal.to_string())
        }
    }

    /// No node serves `model`; `remark` follows its name.
    pub(crate) fn unknown_model(model: &str, remark: &str) -> Self {
        let message = format!(
            "no node serves the model {model:?}{remark}; GET /v1/models lists the available models"
        );
        Self {
            param: Some("model"),
            ..Self::new(ErrorCode::ModelNotAvailable, message)
        }
    }

    /// The key may not use the model.
    pub(crate) fn model_not_allowed(key: &str, name: &str) -> Self {
        let message = format!(
            "the key {key:?} may not use the model {name:?}; GET /v1/models lists those that it \
             may use"
        );
        Self {
            param: Some("model"),
            ..Self::new(ErrorCode::Forbidden, message)
        }
    }

    /// A limit of the key is reached.
    pub(crate) fn limit_exceeded(exceeded: &LimitExceeded) -> Self {
        Self {
            retry_after: Some(exceeded.retry_after),
            ..Self::new(ErrorCode::RateLimited, exceeded.to_string())
        }
    }

    /// The path is no route.
    pub(crate) fn no_such_route(path: &str) -> Self {
        let hint = match route::nearest(path) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => "GET /v1/models lists the models".to_owned(),
        };
        let shown: String = path.chars().take(MAX_ECHO_CHARS).collect();
        Self::new(
            ErrorCode::NotFound,
            format!("there is no such route: {shown:?}; {hint}"),
        )
    }

    /// The last attempt failed. The message never names a node's address.
    pub(crate) fn attempt_failed(error: &ForwardError, context: LogContext<'_>) -> Self {
        let (code, message) = match error {
            ForwardError::Connect { .. } | ForwardError::ConnectTimeout { .. } => (
                ErrorCode::NodeUnavailable,
                "the node that serves this model cannot be reached",
            ),
            ForwardError::AcceptQueueFull { .. } => (
                ErrorCode::QueueFull,
                "the engine has no room for another connection at the moment",
            ),
            ForwardError::Reset {
                source: ResponseError::Protocol(_),
                ..
            } => (
                ErrorCode::WorkerReset,
                "the engine's response is not valid HTTP",
            ),
            ForwardError::Reset { .. } => (
                ErrorCode::WorkerReset,
                "the engine closed the connection before it responded",
            ),
            ForwardError::FirstByte { .. } => (
                ErrorCode::DeadlineExceeded,
                "the engine did not start to respond within the time limit",
            ),
            ForwardError::Deadline { .. } => (
                ErrorCode::DeadlineExceeded,
                "the request's deadline passed before the engine responded",
            ),
            ForwardError::Local(source) => {
                log_request!(
                    warn,
                    context,
                    %source,
                    "cannot open a connection: raise the limit of open files (ulimit -n)"
                );
                (
                    ErrorCode::PoolUnavailable,
                    "this gateway cannot open more connections at the moment",
                )
            }
            ForwardError::OwnDelay { late, .. } => {
                log_request!(
                    warn,
                    context,
                    late_ms = late.as_millis(),
                    "this process was scheduled too late: give it more cores or less load"
                );
                (
                    ErrorCode::PoolUnavailable,
                    "this gateway is overloaded at the moment",
                )
            }
        };
        Self::new(code, message)
    }
}

impl From<PeekError> for GatewayError {
    fn from(error: PeekError) -> Self {
        Self {
            param: error.field(),
            ..Self::new(ErrorCode::InvalidRequest, error.to_string())
        }
    }
}

impl From<BodyError> for GatewayError {
    fn from(error: BodyError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<ApiError> for GatewayError {
    fn from(error: ApiError) -> Self {
        Self::new(error.code, error.message)
    }
}
