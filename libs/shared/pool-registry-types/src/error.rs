//! Error codes: one table from a failure to what a caller sees.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident => $code:literal, $status:literal, $retriable:literal;)*) => {
        /// What went wrong, in a word that a program can branch on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {$($(#[$doc])* $name,)*}

        impl ErrorCode {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {$(Self::$name => $code,)*}
            }

            /// The HTTP status of responses with this code.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self {$(Self::$name => $status,)*}
            }

            /// Whether the same request may succeed later.
            #[must_use]
            pub const fn retriable(self) -> bool {
                match self {$(Self::$name => $retriable,)*}
            }
        }
    };
}

codes! {
    /// A field, header or body is wrong; the message names it.
    InvalidRequest => "INVALID_REQUEST", 400, false;
    /// No token, or a wrong one.
    Unauthorized => "UNAUTHORIZED", 401, false;
    /// The token does not allow this.
    Forbidden => "FORBIDDEN", 403, false;
    /// No such route or object.
    NotFound => "NOT_FOUND", 404, false;
    /// No replica serves the model.
    ModelNotAvailable => "MODEL_NOT_AVAILABLE", 404, false;
    /// The control plane does not know the node, which registers again.
    UnknownNode => "UNKNOWN_NODE", 404, true;
    /// The route exists, with another method.
    MethodNotAllowed => "METHOD_NOT_ALLOWED", 405, false;
    /// A client sent too slowly.
    RequestTimeout => "REQUEST_TIMEOUT", 408, true;
    /// A message of an earlier incarnation of the node.
    StaleIncarnation => "STALE_INCARNATION", 409, false;
    /// Another machine uses the node id and is alive.
    NodeIdConflict => "NODE_ID_CONFLICT", 409, false;
    /// The task id stands for another request.
    TaskIdConflict => "TASK_ID_CONFLICT", 409, false;
    /// Keys in their present state do not allow this change of a key.
    KeyConflict => "KEY_CONFLICT", 409, false;
    /// The client cancelled the task. Sent in events only, which have no status.
    Cancelled => "CANCELLED", 409, false;
    /// This agent does not start the engines of this pool.
    EnginesNotOurs => "ENGINES_NOT_OURS", 409, false;
    /// The new engines did not start, or their configuration is unknown; the old ones stay.
    ReloadFailed => "RELOAD_FAILED", 409, false;
    /// The body exceeds its limit.
    PayloadTooLarge => "PAYLOAD_TOO_LARGE", 413, false;
    /// The body's content coding is not known.
    UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE", 415, false;
    /// The request line and the headers are too long, or the headers too many.
    HeaderTooLarge => "HEADER_TOO_LARGE", 431, false;
    /// All slots are taken and the queue is full, or the queue timeout passed.
    QueueFull => "QUEUE_FULL", 429, true;
    /// A limit of the client's key is reached.
    RateLimited => "RATE_LIMITED", 429, true;
    /// A bug of this program.
    Internal => "INTERNAL", 500, true;
    /// The engine or node broke off its response.
    WorkerReset => "WORKER_RESET", 502, true;
    /// All slots of the pool are taken.
    PoolBusy => "POOL_BUSY", 503, true;
    /// The pool takes no new requests.
    PoolDraining => "POOL_DRAINING", 503, true;
    /// The pool cannot serve now.
    PoolUnavailable => "POOL_UNAVAILABLE", 503, true;
    /// The node cannot be reached.
    NodeUnavailable => "NODE_UNAVAILABLE", 503, true;
    /// Nodes join in the CLOUD profile only, and it is off.
    CloudProfileDisabled => "CLOUD_PROFILE_DISABLED", 503, false;
    /// The control plane knows its maximum of nodes, and cannot forget any of them.
    TooManyNodes => "TOO_MANY_NODES", 503, true;
    /// The server has its maximum of connections.
    TooManyConnections => "TOO_MANY_CONNECTIONS", 503, true;
    /// This process is stopping.
    ShuttingDown => "SHUTTING_DOWN", 503, true;
    /// A deadline passed before the response came.
    DeadlineExceeded => "DEADLINE_EXCEEDED", 504, true;
    /// The address of a node leads back to a gateway.
    LoopDetected => "LOOP_DETECTED", 508, false;
}

impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The error response of `/v2`: `{"error":{"code":…,"message":…,"retriable":…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct ErrorEnvelope {
    /// The error.
    pub error: ErrorBody,
}

/// An error of `/v2`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct ErrorBody {
    /// An [`ErrorCode`], or one that a later version added.
    #[cfg_attr(feature = "openapi", schema(value_type = crate::ErrorCode))]
    pub code: Cow<'static, str>,
    /// For people: what is wrong and what would be right.
    pub message: String,
    /// The same request may succeed later.
    pub retriable: bool,
    /// When to try again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl ErrorEnvelope {
    /// The envelope for `code`.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            error: ErrorBody {
                code: Cow::Borrowed(code.as_str()),
                message: message.into(),
                retriable: code.retriable(),
                retry_after_ms: None,
            },
        }
    }
}

/// The error response of `/v1`, in OpenAI's shape, so that its clients understand it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct OpenAiError {
    /// The error.
    pub error: OpenAiErrorBody,
}

/// An error of `/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct OpenAiErrorBody {
    /// For people: what is wrong and what would be right.
    pub message: String,
    /// OpenAI's class of error.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The field at fault.
    pub param: Option<&'static str>,
    /// What went wrong.
    pub code: ErrorCode,
}

impl OpenAiError {
    /// The error for `code`, and the field at fault if there is one.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>, param: Option<&'static str>) -> Self {
        // https://platform.openai.com/docs/guides/error-codes
        let kind = match code.status() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            _ => "server_error",
        };
        Self {
            error: OpenAiErrorBody {
                message: message.into(),
                kind,
                param,
                code,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: WIRE-6
    #[test]
    fn both_error_shapes() {
        let v2 = serde_json::to_string(&ErrorEnvelope::new(
            ErrorCode::UnknownNode,
            "register first",
        ))
        .unwrap();
        assert_eq!(
            v2,
            r#"{"error":{"code":"UNKNOWN_NODE","message":"register first","retriable":true}}"#
        );
        let v1 =
            serde_json::to_string(&OpenAiError::new(ErrorCode::QueueFull, "busy", None)).unwrap();
        assert_eq!(
            v1,
            concat!(
                r#"{"error":{"message":"busy","type":"rate_limit_error","param":null,"#,
                r#""code":"QUEUE_FULL"}}"#
            )
        );
    }

    // spec: WIRE-6
    #[test]
    fn codes_are_distinct_and_statuses_are_errors() {
        let names: std::collections::BTreeSet<_> =
            ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), ErrorCode::ALL.len());
        assert!(
            ErrorCode::ALL
                .iter()
                .all(|code| (400..600).contains(&code.status()))
        );
    }
}
