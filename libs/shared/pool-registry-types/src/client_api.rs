//! The APIs that clients speak, and the format of errors in each one.

use serde::Serialize;

use crate::{ErrorCode, ErrorEnvelope, OpenAiError};

/// The paths of engines outside `/v1` that the gateway serves: short forms of paths of OpenAI's
/// API, and routes that only some engines have. No other route of a daemon has such a path.
pub const ENGINE_ROUTES: &[&str] = &[
    "/apply-template",
    "/audio/transcriptions",
    "/chat/completions",
    "/classify",
    "/completion",
    "/completions",
    "/detokenize",
    "/embedding",
    "/embeddings",
    "/infill",
    "/messages",
    "/models",
    "/pooling",
    "/props",
    "/rerank",
    "/reranking",
    "/responses",
    "/score",
    "/tokenize",
];

/// The API that a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientApi {
    /// This project's own API.
    Own,
    /// OpenAI's, and whatever else engines serve below `/v1`.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Ollama's own.
    Ollama,
}

impl ClientApi {
    /// The API of a path.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let path = without_final_slash(path);
        // Most requests are below `/v1`, so it comes first.
        if let Some(rest) = below(path, "/v1") {
            match below(rest, "/messages") {
                Some(_) => Self::Anthropic,
                None => Self::OpenAi,
            }
        } else if let Some(rest) = below(path, "/api") {
            match below(rest, "/v1") {
                Some(_) => Self::OpenAi,
                None => Self::Ollama,
            }
        } else if path == "/messages" {
            Self::Anthropic
        } else if ENGINE_ROUTES.contains(&path) {
            Self::OpenAi
        } else {
            Self::Own
        }
    }
}

/// The part of a path after `root`, if the path is `root` or below it.
fn below<'p>(path: &'p str, root: &str) -> Option<&'p str> {
    path.strip_prefix(root)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A path without the slash at its end, which means the same route.
#[must_use]
pub fn without_final_slash(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some(shorter) if !shorter.is_empty() => shorter,
        _ => path,
    }
}

/// The error response of `/v1/messages`, in Anthropic's shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct AnthropicError {
    /// Always `error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The error.
    pub error: AnthropicErrorBody,
    /// The id of the request, as in the header `request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// An error of `/v1/messages`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct AnthropicErrorBody {
    /// Anthropic's class of error.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// For people: what is wrong and what would be right.
    pub message: String,
    /// What went wrong.
    pub code: ErrorCode,
}

impl AnthropicError {
    /// The error for `code`.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>, request_id: Option<String>) -> Self {
        // https://docs.anthropic.com/en/api/errors
        let kind = match code.status() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            503 => "overloaded_error",
            _ => "api_error",
        };
        Self {
            kind: "error",
            error: AnthropicErrorBody {
                kind,
                message: message.into(),
                code,
            },
            request_id,
        }
    }
}

/// The error response of `/api`, in Ollama's shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct OllamaError {
    /// For people: what is wrong and what would be right.
    pub error: String,
}

impl OllamaError {
    /// The error with this message.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            error: message.into(),
        }
    }
}

/// An error in the shape of one of the APIs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ApiErrorBody {
    /// The `/v2` envelope.
    Own(ErrorEnvelope),
    /// OpenAI's shape.
    OpenAi(OpenAiError),
    /// Anthropic's shape.
    Anthropic(AnthropicError),
    /// Ollama's shape.
    Ollama(OllamaError),
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PATH-100
    #[test]
    fn a_path_belongs_to_one_api() {
        for (path, api) in [
            ("/v1", ClientApi::OpenAi),
            ("/v1/", ClientApi::OpenAi),
            ("/v1/chat/completions", ClientApi::OpenAi),
            ("/v1/messagesx", ClientApi::OpenAi),
            ("/v1x", ClientApi::Own),
            ("/v1/messages", ClientApi::Anthropic),
            ("/v1/messages/", ClientApi::Anthropic),
            ("/v1/messages/count_tokens", ClientApi::Anthropic),
            ("/messages", ClientApi::Anthropic),
            ("/chat/completions/", ClientApi::OpenAi),
            ("/tokenize", ClientApi::OpenAi),
            ("/api/chat", ClientApi::Ollama),
            ("/api/v1/chat/completions", ClientApi::OpenAi),
            ("/apix", ClientApi::Own),
            ("/v2/nodes", ClientApi::Own),
            ("/", ClientApi::Own),
            ("", ClientApi::Own),
        ] {
            assert_eq!(ClientApi::of(path), api, "{path:?}");
        }
    }

    // spec: PATH-100
    #[test]
    fn anthropics_shape_names_the_class_the_code_and_the_request() {
        let error = AnthropicError::new(ErrorCode::Unauthorized, "no", Some("r1".to_owned()));
        assert_eq!(
            serde_json::to_value(error).unwrap(),
            serde_json::json!({
                "type": "error",
                "error": {"type": "authentication_error", "message": "no", "code": "UNAUTHORIZED"},
                "request_id": "r1",
            })
        );
    }
}
