//! The APIs that engines implement: how the streams of each one end, and its format of errors.

use std::sync::LazyLock;

use bytes::Bytes;
use http_server::RequestId;
use memchr::{memchr, memmem};
use pool_registry_types::{
    ErrorCode, OpenAiError,
    client_api::{AnthropicError, ApiErrorBody, OllamaError},
};
use serde_json::json;

/// An API's conventions for streams and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OpenAI's completions and chat completions: streams end with `data: [DONE]`.
    Completions,
    /// OpenAI's responses: streams end with `response.completed`, `.incomplete` or `.failed`.
    Responses,
    /// Anthropic's messages: streams end with `message_stop`.
    Messages,
    /// Ollama's own API: only the errors of this gateway.
    Ollama,
    /// Anything else: its streams have no end event.
    Plain,
}

/// What an event means for the end of its stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// No event, or only a comment.
    #[default]
    None,
    /// The stream's proper end.
    End,
    /// The engine reports an error.
    Error,
    /// Anything else.
    Other,
}

impl Dialect {
    /// Whether whole events are tokens without doubt. This fast check accepts nearly every event,
    /// and never a comment, an end or an error.
    pub(crate) fn is_ordinary(self, events: &[u8]) -> bool {
        self == Self::Completions
            && events.starts_with(b"data: {")
            && events.ends_with(b"}\n\n")
            && ERROR.find(events).is_none()
            // A single line holds one object. Several lines may contain the end.
            && (memchr(b'\n', &events[..events.len() - b"\n\n".len()]).is_none()
                || DONE.find(events).is_none())
    }

    /// What a whole event, without the blank line after it, means.
    pub(crate) fn classify(self, event: &[u8]) -> EventKind {
        let (name, data, has_error) = fields(event);
        if name.is_empty() && data.is_empty() {
            return EventKind::None;
        }
        let kind = |kind: &str| {
            // `type` is the first field of these objects. Generated text follows, and is escaped.
            let head = &data[..data.len().min(TYPE_WITHIN)];
            name == kind.as_bytes()
                || memmem::find(head, format!(r#""type":"{kind}""#).as_bytes()).is_some()
        };
        let is_end = match self {
            Self::Completions => data == b"[DONE]",
            Self::Responses => {
                [
                    "response.completed",
                    "response.incomplete",
                    "response.failed",
                ]
                .into_iter()
                .any(kind)
                    || data == b"[DONE]"
            }
            Self::Messages => kind("message_stop"),
            Self::Plain | Self::Ollama => false,
        };
        let is_error = has_error || name == b"error" || data.starts_with(br#"{"error""#);
        match (is_end, is_error) {
            (true, _) => EventKind::End,
            (false, true) => EventKind::Error,
            (false, false) => EventKind::Other,
        }
    }

    /// Whether events say why the generation ended: the answer is complete, whether or not the
    /// engine also sends its API's end.
    pub(crate) fn has_finish_reason(self, events: &[u8]) -> bool {
        let key = match self {
            Self::Completions => &FINISH_REASON,
            Self::Messages => &STOP_REASON,
            Self::Responses | Self::Plain | Self::Ollama => return false,
        };
        // The value is null until then. Within generated text the quotes would be escaped.
        key.find_iter(events).any(|at| {
            let value = events.get(at + key.needle().len()..).unwrap_or_default();
            value.trim_ascii_start().starts_with(b"\"")
        })
    }

    /// Whether a stream whose last event was `last` is complete.
    pub(crate) fn is_over(self, last: EventKind) -> bool {
        matches!(self, Self::Plain | Self::Ollama)
            || matches!(last, EventKind::End | EventKind::Error)
    }

    /// A whole event that tells the client why its stream ends.
    pub(crate) fn error_event(self, code: ErrorCode, message: &str) -> Bytes {
        let (name, json) = match self {
            Self::Completions | Self::Plain | Self::Ollama => {
                ("", to_json(&self.error_body(code, message, None, None)))
            }
            Self::Responses => {
                let json =
                    json!({"type": "error", "code": code, "message": message, "param": null});
                ("event: error\n", json.to_string())
            }
            Self::Messages => (
                "event: error\n",
                to_json(&self.error_body(code, message, None, None)),
            ),
        };
        Bytes::from(format!("{name}data: {json}\n\n"))
    }

    /// The body of an error response.
    pub(crate) fn error_body(
        self,
        code: ErrorCode,
        message: &str,
        param: Option<&'static str>,
        request_id: Option<&RequestId>,
    ) -> ApiErrorBody {
        match self {
            Self::Messages => {
                let id = request_id.map(RequestId::to_string);
                ApiErrorBody::Anthropic(AnthropicError::new(code, message, id))
            }
            Self::Ollama => ApiErrorBody::Ollama(OllamaError::new(message)),
            Self::Completions | Self::Responses | Self::Plain => {
                ApiErrorBody::OpenAi(OpenAiError::new(code, message, param))
            }
        }
    }
}

/// Serialising strings cannot fail.
fn to_json(error: &ApiErrorBody) -> String {
    serde_json::to_string(error).unwrap_or_default()
}

/// Every event that reports an error contains this.
static ERROR: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("error"));

/// Every event that ends a stream of completions contains this.
static DONE: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("[DONE]"));

/// Why the generation ended, in completions and in Anthropic's messages.
static FINISH_REASON: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new(r#""finish_reason":"#));
static STOP_REASON: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new(r#""stop_reason":"#));

/// The `type` of an event's object is within its first bytes.
const TYPE_WITHIN: usize = 64;

/// The name of an event and its first line of data (HTML standard, 9.2.6), and whether it has a
/// field `error`, which is llama-server's format of errors.
fn fields(event: &[u8]) -> (&[u8], &[u8], bool) {
    let (mut name, mut data): (&[u8], &[u8]) = (b"", b"");
    let mut has_error = false;
    for field in sse::fields(event) {
        has_error |= field.name == b"error";
        match field.name {
            b"event" => name = field.value.trim_ascii(),
            b"data" | b"error" if data.is_empty() => data = field.value.trim_ascii(),
            _ => {}
        }
    }
    (name, data, has_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PATH-16
    #[test]
    fn each_api_has_its_own_end_event() {
        let cases = [
            (Dialect::Completions, "data: [DONE]", EventKind::End),
            (Dialect::Completions, "data:[DONE]", EventKind::End),
            (
                Dialect::Completions,
                r#"data: {"content":"[DONE]"}"#,
                EventKind::Other,
            ),
            (
                Dialect::Completions,
                r#"data: {"error":{"code":500}}"#,
                EventKind::Error,
            ),
            (
                Dialect::Completions,
                "event: error\ndata: {}",
                EventKind::Error,
            ),
            (Dialect::Completions, ":", EventKind::None),
            (Dialect::Completions, ": ping", EventKind::None),
            (
                Dialect::Completions,
                "id: 7\r\ndata: [DONE]\r",
                EventKind::End,
            ),
            (
                Dialect::Completions,
                "error: {\"code\":500}",
                EventKind::Error,
            ),
            (
                Dialect::Responses,
                "data: {\"type\":\"response.output_text.delta\",\
                 \"delta\":\"event: response.completed\"}",
                EventKind::Other,
            ),
            (
                Dialect::Responses,
                "event: response.completed\ndata: {}",
                EventKind::End,
            ),
            (
                Dialect::Responses,
                r#"data: {"type":"response.failed"}"#,
                EventKind::End,
            ),
            (
                Dialect::Responses,
                r#"data: {"type":"response.output_text.delta"}"#,
                EventKind::Other,
            ),
            (
                Dialect::Messages,
                "event: message_stop\ndata: {\"type\":\"message_stop\"}",
                EventKind::End,
            ),
            (
                Dialect::Messages,
                "event: content_block_delta\ndata: {}",
                EventKind::Other,
            ),
            (
                Dialect::Messages,
                "event: error\ndata: {\"type\":\"error\"}",
                EventKind::Error,
            ),
            (Dialect::Plain, "data: [DONE]", EventKind::Other),
        ];
        for (dialect, event, expected) in cases {
            assert_eq!(
                dialect.classify(event.as_bytes()),
                expected,
                "{dialect:?} {event}"
            );
        }
    }

    // spec: PATH-16
    #[test]
    fn the_fast_check_agrees_with_the_classification() {
        let token = "data: {\"choices\":[{\"delta\":{\"content\":\" one\"}}]}\n\n";
        assert!(Dialect::Completions.is_ordinary(token.as_bytes()));
        for events in [
            "data: [DONE]\n\n",
            ":\n\n",
            "data: {\"error\":{\"code\":500}}\n\n",
            "event: error\ndata: {}\n\n",
            "data: {\"x\":1}\n\ndata: [DONE]\n\n",
            "data: {\"x\":1}\n\n:\n\n",
            "data: {\"x\":1}\n\ndata: [DONE]\n\ndata: {\"x\":2}\n\n",
            "data: {\n\ndata: [DONE]\n\n}\n\n",
            "data: {\"x\":1}\n\nerror: {\"code\":500}\n\n",
        ] {
            assert!(
                !Dialect::Completions.is_ordinary(events.as_bytes()),
                "{events}"
            );
        }
        assert!(!Dialect::Responses.is_ordinary(token.as_bytes()));
    }

    #[test]
    fn an_error_event_is_whole_and_in_the_format_of_the_api() {
        for (dialect, name, path) in [
            (Dialect::Completions, None, "/error/code"),
            (Dialect::Responses, Some("event: error"), "/code"),
            (Dialect::Messages, Some("event: error"), "/error/code"),
            (Dialect::Plain, None, "/error/code"),
        ] {
            let event = dialect.error_event(ErrorCode::WorkerReset, "the engine \"broke\"\n\noff");
            let text = std::str::from_utf8(&event).unwrap();
            assert_eq!(text.matches("\n\n").count(), 1, "{text}");
            let (first, data) = text.trim_end().split_once("data: ").unwrap();
            assert_eq!(first.trim_end(), name.unwrap_or_default());
            let json: serde_json::Value = serde_json::from_str(data).unwrap();
            assert_eq!(json.pointer(path).unwrap(), "WORKER_RESET", "{text}");
            assert!(
                dialect == Dialect::Plain
                    || dialect.is_over(dialect.classify(text.trim_end().as_bytes())),
                "{text}"
            );
        }
    }
}
