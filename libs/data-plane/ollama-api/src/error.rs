//! Errors: of requests, and in Ollama's shape.

use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

/// A request that cannot be translated. The message names the field and never repeats a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// It is not a JSON object with the fields of its route.
    #[error("the body is not valid: {0}")]
    Invalid(String),
    /// Only an Ollama can do this.
    #[error("`{field}` is not supported here: {instead}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// What to do.
        instead: &'static str,
    },
}

impl From<serde_json::Error> for RequestError {
    fn from(error: serde_json::Error) -> Self {
        // serde repeats values of a wrong type, which may be prompts.
        let place = format!("line {}, column {}", error.line(), error.column());
        Self::Invalid(match error.classify() {
            serde_json::error::Category::Data => {
                format!("a field is missing or has another type ({place})")
            }
            _ => format!("it is not a JSON object ({place})"),
        })
    }
}

/// An error response.
#[must_use]
pub fn error(message: &str) -> Vec<u8> {
    json!({ "error": message }).to_string().into_bytes()
}

/// The error response for an engine's or a gateway's error in OpenAI's shape.
#[must_use]
pub fn error_of(response: &[u8]) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Response {
        error: Value,
    }
    let message = serde_json::from_slice::<Response>(response).ok();
    let message = message.and_then(|response| message_of(&response.error));
    error(&message.unwrap_or_else(|| "the engine did not serve the request".to_owned()))
}

/// The message in the value of `error`.
pub(crate) fn message_of(error: &Value) -> Option<String> {
    let message = error.get("message").unwrap_or(error);
    message.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PATH-109
    #[test]
    fn an_error_keeps_its_message() {
        for (response, message) in [
            (r#"{"error":{"message":"busy","code":"X"}}"#, "busy"),
            (r#"{"error":"busy"}"#, "busy"),
            ("Bad Gateway", "the engine did not serve the request"),
            ("{}", "the engine did not serve the request"),
        ] {
            let value: Value = serde_json::from_slice(&error_of(response.as_bytes())).unwrap();
            assert_eq!(value, json!({ "error": message }));
        }
    }
}
