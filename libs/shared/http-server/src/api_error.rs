//! Errors of `/v2`: a code, a message, and their response.

use std::{borrow::Cow, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bearer_auth::without_tokens;
use http::{
    HeaderValue, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use pool_registry_types::{
    ErrorCode, ErrorEnvelope, OpenAiError,
    client_api::{AnthropicError, ApiErrorBody, ClientApi, OllamaError},
    headers,
};
use thiserror::Error;

use crate::{ACCEPTED_CODINGS, BodyError, RequestId};

/// An error for the client. It becomes the `/v2` error envelope with the code's status.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {message}", .code.as_str())]
pub struct ApiError {
    /// The code, which decides the status.
    pub code: ErrorCode,
    /// For people: what is wrong and what would be right.
    pub message: Cow<'static, str>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// An error with a message for the client.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        let message = match message.into() {
            // It may repeat what a client sent.
            Cow::Owned(message) => Cow::Owned(without_tokens(&message).into_owned()),
            ours => ours,
        };
        Self {
            code,
            message,
            retry_after: None,
        }
    }

    /// The request is invalid; 400.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// Adds when to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The response in the shape of the API that `path` belongs to. Anthropic's shape names the
    /// request.
    #[must_use]
    pub fn into_response_for(self, path: &str, request_id: Option<&RequestId>) -> Response {
        let (code, message) = (self.code, self.message.clone());
        let error = match ClientApi::of(path) {
            ClientApi::Own => return self.into_response(),
            ClientApi::OpenAi => ApiErrorBody::OpenAi(OpenAiError::new(code, message, None)),
            ClientApi::Anthropic => ApiErrorBody::Anthropic(AnthropicError::new(
                code,
                message,
                request_id.map(RequestId::to_string),
            )),
            ClientApi::Ollama => ApiErrorBody::Ollama(OllamaError::new(message)),
        };
        // Status and headers are the same in all shapes.
        let mut response = self
            .into_response()
            .map(|_| Body::from(serde_json::to_vec(&error).unwrap_or_default()));
        if let (ApiErrorBody::Anthropic(_), Some(id)) = (&error, request_id) {
            response
                .headers_mut()
                .insert(headers::ANTHROPIC_REQUEST_ID, id.header_value());
        }
        response
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let code = match &error {
            BodyError::TooLarge { .. } => ErrorCode::PayloadTooLarge,
            BodyError::TooSlow { .. } => ErrorCode::RequestTimeout,
            BodyError::UnknownCoding => ErrorCode::UnsupportedMediaType,
            BodyError::Undecodable(_) | BodyError::Broken(_) => ErrorCode::InvalidRequest,
        };
        Self::new(code, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut envelope = ErrorEnvelope::new(self.code, self.message);
        envelope.error.retry_after_ms = self.retry_after.map(pool_registry_types::millis);
        // Serialising strings and numbers cannot fail. An empty body would still carry the status.
        let body = serde_json::to_vec(&envelope).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        // For the audit log.
        response.extensions_mut().insert(self.code);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        if self.code == ErrorCode::UnsupportedMediaType {
            // RFC 9110, section 15.5.16.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED_CODINGS));
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110, section 15.5.2: a 401 names the authentication scheme.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The header has whole seconds only. Round up, so that no client returns too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn body(response: Response) -> serde_json::Value {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn becomes_the_envelope() {
        let error =
            ApiError::new(ErrorCode::QueueFull, "busy").retry_after(Duration::from_millis(1200));
        let response = error.into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(
            body(response).await,
            serde_json::json!({"error": {
                "code": "QUEUE_FULL", "message": "busy", "retriable": true, "retry_after_ms": 1200,
            }})
        );
    }

    #[test]
    fn a_401_names_the_way_in() {
        let response = ApiError::new(ErrorCode::Unauthorized, "no").into_response();
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
    }

    // spec: PATH-100
    #[tokio::test]
    async fn an_error_has_the_shape_of_its_api() {
        let id = RequestId::new("r1").unwrap();
        for (path, pointer, named) in [
            ("/v1/chat/completions", "/error/type", None),
            ("/chat/completions", "/error/type", None),
            ("/v1/messages", "/error/type", Some("r1")),
            ("/v1/messages/batches", "/error/type", Some("r1")),
            ("/v2/nodes", "/error/retriable", None),
        ] {
            let error = ApiError::new(ErrorCode::Unauthorized, "no");
            let response = error.into_response_for(path, Some(&id));
            let header = response.headers().get("request-id");
            assert_eq!(header.map(|id| id.to_str().unwrap()), named, "{path}");
            let body = body(response).await;
            assert!(body.pointer(pointer).is_some(), "{path} {body}");
            assert_eq!(body["request_id"].as_str(), named, "{path}");
        }
    }

    #[test]
    fn body_errors_have_their_codes() {
        let slow = BodyError::TooSlow {
            after: Duration::from_secs(10),
        };
        for (error, status) in [
            (BodyError::TooLarge { limit: 1 }, 413),
            (slow, 408),
            (BodyError::UnknownCoding, 415),
            (BodyError::Broken("x".into()), 400),
        ] {
            assert_eq!(ApiError::from(error).status(), status);
        }
    }
}
