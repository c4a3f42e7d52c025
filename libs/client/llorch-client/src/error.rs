//! Why a request failed.

// The server chooses the numbers: arithmetic on them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::time::Duration;

use pool_registry_types::{ErrorCode, one_line};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

/// How much of a server's text an error repeats.
const MAX_ECHO_BYTES: usize = 300;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The request cannot be sent: a text is no valid header value.
    #[error("the request is invalid: {reason}")]
    InvalidRequest {
        /// What is wrong.
        reason: String,
    },
    /// There is no connection.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// The server.
        url: String,
        /// Why.
        reason: String,
    },
    /// This process is at a limit of its own, mostly that of open files. Nothing was sent.
    #[error("{url} was not asked, because this process is at a limit of its own: {reason}")]
    LocalLimit {
        /// The server.
        url: String,
        /// Which limit.
        reason: String,
    },
    /// The server accepted the connection and did not answer in time.
    #[error("{url} did not answer within {}", seconds(*.within))]
    Timeout {
        /// The server.
        url: String,
        /// The timeout.
        within: Duration,
    },
    /// The server refused the request or could not serve it.
    #[error("{message}")]
    Refused {
        /// The HTTP status; 0 when the error came as an event of a stream.
        status: u16,
        /// An [`ErrorCode`], or another code of the server; empty without one.
        code: String,
        /// The message for people.
        message: String,
        /// When to retry.
        retry_after: Option<Duration>,
    },
    /// The response has another form than expected.
    #[error("{url} sent an unexpected response: {reason}")]
    InvalidResponse {
        /// The server and the path.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The response began and ended too early.
    #[error("the answer of {url} broke off: {reason}")]
    Interrupted {
        /// The server.
        url: String,
        /// Why.
        reason: String,
    },
}

impl ClientError {
    /// Whether the server refused with this code.
    #[must_use]
    pub fn has_code(&self, expected: ErrorCode) -> bool {
        matches!(self, Self::Refused { code, .. } if code == expected.as_str())
    }

    /// The HTTP status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the connection failed, so that a retry may help.
    #[must_use]
    pub fn is_connection(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::LocalLimit { .. }
                | Self::Timeout { .. }
                | Self::Interrupted { .. }
        )
    }

    /// Reads the error in the body of a response. A body without an error object is repeated.
    pub(crate) fn refusal(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let error = serde_json::from_slice::<Value>(body)
            .ok()
            .and_then(|body| ErrorObject::parse(body.get("error")?));
        match error {
            Some(error) => Self::Refused {
                status,
                code: error.code.unwrap_or_default(),
                message: error.message,
                retry_after: error.retry_after.or(retry_after),
            },
            None => {
                let text = shortened(&String::from_utf8_lossy(body));
                let text = text.trim();
                let colon = if text.is_empty() { "" } else { ": " };
                Self::Refused {
                    status,
                    code: String::new(),
                    message: format!("the server answered with status {status}{colon}{text}"),
                    retry_after,
                }
            }
        }
    }

    /// Reads the error in an event of a stream; `None` without one.
    pub(crate) fn in_event(data: &Value) -> Option<Self> {
        let error = data.get("error").filter(|error| !error.is_null())?;
        let error = ErrorObject::parse(error)?;
        Some(Self::Refused {
            status: 0,
            code: error.code.unwrap_or_default(),
            message: error.message,
            retry_after: error.retry_after,
        })
    }
}

/// An error object of `/v2`, of `/v1`, or of another OpenAI-compatible server.
struct ErrorObject {
    code: Option<String>,
    message: String,
    retry_after: Option<Duration>,
}

impl ErrorObject {
    fn parse(error: &Value) -> Option<Self> {
        #[derive(Deserialize)]
        struct Fields {
            message: Option<String>,
            code: Option<Value>,
            retry_after_ms: Option<u64>,
        }

        if let Some(text) = error.as_str() {
            return Some(Self {
                code: None,
                message: shortened(text),
                retry_after: None,
            });
        }
        let fields = Fields::deserialize(error).ok()?;
        Some(Self {
            message: shortened(&fields.message?),
            code: fields.code.and_then(|code| match code {
                Value::String(code) => Some(shortened(&code)),
                Value::Number(code) => Some(code.to_string()),
                _ => None,
            }),
            retry_after: fields.retry_after_ms.map(Duration::from_millis),
        })
    }
}

/// A server's text as an error repeats it.
pub(crate) fn shortened(text: &str) -> String {
    one_line(text, MAX_ECHO_BYTES)
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_and_message(body: &str) -> (String, String) {
        match ClientError::refusal(404, None, body.as_bytes()) {
            ClientError::Refused { code, message, .. } => (code, message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn error_objects_of_all_servers_are_read() {
        for (body, code, message) in [
            (
                r#"{"error":{"code":"UNKNOWN_NODE","message":"no such node","retriable":true}}"#,
                "UNKNOWN_NODE",
                "no such node",
            ),
            (
                r#"{"error":{"message":"no","type":"x","param":null,"code":"MODEL_NOT_AVAILABLE"}}"#,
                "MODEL_NOT_AVAILABLE",
                "no",
            ),
            (r#"{"error":{"message":"busy","code":503}}"#, "503", "busy"),
            (r#"{"error":"plain"}"#, "", "plain"),
            ("", "", "the server answered with status 404"),
            (
                "<html>\x1b[2J",
                "",
                "the server answered with status 404: <html> [2J",
            ),
        ] {
            assert_eq!(
                code_and_message(body),
                (code.to_owned(), message.to_owned()),
                "{body}"
            );
        }
    }

    #[test]
    fn an_error_in_an_event_is_found() {
        let event = serde_json::json!({"error":{"message":"gone","code":"WORKER_RESET"}});
        let error = ClientError::in_event(&event).unwrap();
        assert!(error.has_code(ErrorCode::WorkerReset), "{error:?}");
        assert_eq!(
            ClientError::in_event(&serde_json::json!({"choices":[]})),
            None
        );
        assert_eq!(
            ClientError::in_event(&serde_json::json!({"error":null})),
            None
        );
    }
}
