//! What can go wrong between a client and its server.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::time::Duration;

use pool_registry_types::ErrorCode;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

/// How much of a foreign text an error repeats.
const MAX_ECHO_CHARS: usize = 300;

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection came about.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// The server.
        url: String,
        /// Why.
        reason: String,
    },
    /// This process could not ask: it is at a limit of its own, mostly that of open files.
    #[error("{url} was not asked, because this process is at a limit of its own: {reason}")]
    OwnLimit {
        /// The server.
        url: String,
        /// Which one.
        reason: String,
    },
    /// The server was reached, and did not answer in time.
    #[error("{url} did not answer within {}", seconds(*.within))]
    Late {
        /// The server.
        url: String,
        /// How long it had.
        within: Duration,
    },
    /// The server answered that it will not, or cannot.
    #[error("{message}")]
    Refused {
        /// The HTTP status; 0 when it came as an event of a stream.
        status: u16,
        /// An [`ErrorCode`], or whatever the server calls it; empty when it says nothing.
        code: String,
        /// For people.
        message: String,
        /// When to try again.
        retry_after: Option<Duration>,
    },
    /// The answer is not of the expected form.
    #[error("{url} answered something that is not understood: {reason}")]
    NotUnderstood {
        /// The server and the path.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer began and did not end as it should.
    #[error("the answer of {url} broke off: {reason}")]
    BrokenOff {
        /// The server.
        url: String,
        /// Why.
        reason: String,
    },
}

impl ClientError {
    /// Whether the server refused with this code.
    #[must_use]
    pub fn is(&self, wanted: ErrorCode) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted.as_str())
    }

    /// The HTTP status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the connection failed, so that trying again may help.
    #[must_use]
    pub fn is_connection(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::OwnLimit { .. }
                | Self::Late { .. }
                | Self::BrokenOff { .. }
        )
    }

    /// The refusal in the body of an answer, of either shape, or of none.
    pub(crate) fn refusal(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let told = serde_json::from_slice::<Value>(body)
            .ok()
            .and_then(|body| Told::read(body.get("error")?));
        match told {
            Some(told) => Self::Refused {
                status,
                code: told.code.unwrap_or_default(),
                message: told.message,
                retry_after: told.retry_after.or(retry_after),
            },
            None => {
                let text = echo(&String::from_utf8_lossy(body));
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

    /// The error that an event of a stream tells of, if it does.
    pub(crate) fn in_event(data: &Value) -> Option<Self> {
        let told = Told::read(data.get("error").filter(|error| !error.is_null())?)?;
        Some(Self::Refused {
            status: 0,
            code: told.code.unwrap_or_default(),
            message: told.message,
            retry_after: told.retry_after,
        })
    }
}

/// What an error object says, in our two shapes and in those of other OpenAI servers.
struct Told {
    code: Option<String>,
    message: String,
    retry_after: Option<Duration>,
}

impl Told {
    fn read(error: &Value) -> Option<Self> {
        #[derive(Deserialize)]
        struct Fields {
            message: Option<String>,
            code: Option<Value>,
            retry_after_ms: Option<u64>,
        }

        if let Some(text) = error.as_str() {
            return Some(Self {
                code: None,
                message: echo(text),
                retry_after: None,
            });
        }
        let fields = Fields::deserialize(error).ok()?;
        Some(Self {
            message: echo(&fields.message?),
            code: fields.code.and_then(|code| match code {
                Value::String(code) => Some(echo(&code)),
                Value::Number(code) => Some(code.to_string()),
                _ => None,
            }),
            retry_after: fields.retry_after_ms.map(Duration::from_millis),
        })
    }
}

/// A foreign text as an error may repeat it: shortened, and unable to forge a line or to steer a
/// terminal.
pub(crate) fn echo(text: &str) -> String {
    text.chars()
        .take(MAX_ECHO_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(body: &str) -> (String, String) {
        match ClientError::refusal(404, None, body.as_bytes()) {
            ClientError::Refused { code, message, .. } => (code, message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_shapes_and_those_of_others() {
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
            assert_eq!(told(body), (code.to_owned(), message.to_owned()), "{body}");
        }
    }

    #[test]
    fn an_event_with_an_error_is_one() {
        let event = serde_json::json!({"error":{"message":"gone","code":"WORKER_RESET"}});
        let error = ClientError::in_event(&event).unwrap();
        assert!(error.is(ErrorCode::WorkerReset), "{error:?}");
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
