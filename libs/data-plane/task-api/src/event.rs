//! The events of a task, and their ids, after which a reader can resume.

use std::{fmt, str::FromStr};

use pool_registry_types::{ErrorCode, NodeId, PoolId, ReplicaId};
use serde::Serialize;
use serde_json::value::RawValue;
use thiserror::Error;

/// An event of a task. The first is `started`, unless the task ends before. The last is `end` or
/// `error`.
#[derive(Debug)]
pub(crate) enum TaskEvent {
    Started(Box<Started>),
    Token(Token),
    Embedding(Embedding),
    Metrics(Box<Metrics>),
    End(End),
    Error(TaskError),
}

/// An engine has started the request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Started {
    /// The forecast at the task's submission.
    #[serde(flatten)]
    pub(crate) forecast: Forecast,
    /// The actual wait in milliseconds.
    pub(crate) waited_ms: u64,
    #[serde(flatten)]
    pub(crate) served_by: ServedBy,
}

/// When a task is expected to start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub(crate) struct Forecast {
    /// The number of requests that are served before it.
    pub(crate) queue_position: usize,
    /// In how many milliseconds; absent when that is unknown.
    pub(crate) predicted_start_ms: Option<u64>,
}

/// The engine that serves a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ServedBy {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_id: Option<NodeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pool_id: Option<PoolId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replica_id: Option<ReplicaId>,
    /// The number of attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempts: Option<u32>,
}

/// A piece of text, as the engine sent it.
#[derive(Serialize)]
pub(crate) struct Token {
    pub(crate) t: Box<str>,
    /// The number of the token, from 0.
    pub(crate) i: u32,
    /// Whether it belongs to the model's reasoning before its answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) reasoning: bool,
}

impl fmt::Debug for Token {
    /// Omits the text, because completions are never logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("i", &self.i)
            .finish_non_exhaustive()
    }
}

/// The embedding of one input.
#[derive(Serialize)]
pub(crate) struct Embedding {
    /// The number of the input, from 0.
    pub(crate) i: u32,
    /// The engine's JSON, unchanged.
    pub(crate) embedding: Box<RawValue>,
}

impl fmt::Debug for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedding")
            .field("i", &self.i)
            .finish_non_exhaustive()
    }
}

/// Figures of the engine and of this process. Unknown figures are absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Metrics {
    #[serde(flatten)]
    pub(crate) engine: EngineFigures,
    /// From the task's submission to its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue_ms: Option<u64>,
    /// From its start to its first token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_token_ms: Option<u64>,
}

/// The engine's own figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct EngineFigures {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cached_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) completion_tokens: Option<u64>,
    /// The engine's own time for the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt_ms: Option<f64>,
    /// The engine's own time for the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) predicted_ms: Option<f64>,
}

/// The answer is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct End {
    /// The engine's count; without one the number of `token` events.
    pub(crate) tokens_out: u64,
    /// From the first token to the last.
    pub(crate) decode_time_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finish_reason: Option<String>,
}

/// Why there is no answer, or an incomplete one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Failure))]
pub(crate) struct TaskError {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) retriable: bool,
}

impl TaskError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retriable: code.retriable(),
        }
    }
}

impl TaskEvent {
    fn name(&self) -> &'static str {
        match self {
            Self::Started(_) => "started",
            Self::Token(_) => "token",
            Self::Embedding(_) => "embedding",
            Self::Metrics(_) => "metrics",
            Self::End(_) => "end",
            Self::Error(_) => "error",
        }
    }

    /// Whether it is the last event of a task.
    pub(crate) fn is_last(&self) -> bool {
        matches!(self, Self::End(_) | Self::Error(_))
    }

    /// Its memory in bytes.
    pub(crate) fn size(&self) -> usize {
        let heap_bytes = match self {
            Self::Started(_) => size_of::<Started>(),
            Self::Metrics(_) => size_of::<Metrics>(),
            Self::Token(token) => token.t.len(),
            Self::Embedding(embedding) => embedding.embedding.get().len(),
            Self::End(end) => end.finish_reason.as_ref().map_or(0, String::len),
            Self::Error(error) => error.message.len(),
        };
        size_of::<Self>() + heap_bytes
    }

    /// Appends the event to `out` as a server-sent event.
    pub(crate) fn write(&self, id: EventId, out: &mut Vec<u8>) {
        let head = format!("id: {id}\nevent: {}\ndata: ", self.name());
        out.extend_from_slice(head.as_bytes());
        let written = match self {
            Self::Started(data) => serde_json::to_writer(&mut *out, data),
            Self::Token(data) => serde_json::to_writer(&mut *out, data),
            Self::Embedding(data) => serde_json::to_writer(&mut *out, data),
            Self::Metrics(data) => serde_json::to_writer(&mut *out, data),
            Self::End(data) => serde_json::to_writer(&mut *out, data),
            Self::Error(data) => serde_json::to_writer(&mut *out, data),
        };
        // Serializing these types into a vector does not fail.
        debug_assert!(written.is_ok(), "an event is always JSON");
        out.extend_from_slice(b"\n\n");
    }
}

/// The id of an event: a run of a task, and the number of the event from 1.
///
/// A task id may be reused after the task was forgotten. The run prevents that a reader of the
/// earlier task gets events of the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventId {
    pub(crate) run: u32,
    pub(crate) number: u64,
}

/// The text is not the id of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be the id of the last event that was read, such as 7f3a90c1-42")]
pub(crate) struct InvalidEventId;

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.run, self.number)
    }
}

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        let (run, number) = text.split_once('-').ok_or(InvalidEventId)?;
        Ok(Self {
            run: u32::from_str_radix(run, 16).map_err(|_| InvalidEventId)?,
            number: number.parse().map_err(|_| InvalidEventId)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(event: &TaskEvent) -> String {
        let mut out = Vec::new();
        event.write(
            EventId {
                run: 0xab,
                number: 7,
            },
            &mut out,
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn events_have_their_wire_format() {
        let token = TaskEvent::Token(Token {
            t: "a\n\n\"ü".into(),
            i: 3,
            reasoning: false,
        });
        assert_eq!(
            written(&token),
            "id: 000000ab-7\nevent: token\ndata: {\"t\":\"a\\n\\n\\\"ü\",\"i\":3}\n\n"
        );
        let started = TaskEvent::Started(Box::new(Started {
            forecast: Forecast {
                queue_position: 2,
                predicted_start_ms: None,
            },
            waited_ms: 5,
            served_by: ServedBy::default(),
        }));
        assert_eq!(
            written(&started),
            "id: 000000ab-7\nevent: started\ndata: \
             {\"queue_position\":2,\"predicted_start_ms\":null,\"waited_ms\":5}\n\n"
        );
        let error = TaskEvent::Error(TaskError::new(ErrorCode::WorkerReset, "broke off"));
        assert_eq!(
            written(&error),
            "id: 000000ab-7\nevent: error\ndata: {\"code\":\"WORKER_RESET\",\"message\":\"broke \
             off\",\"retriable\":true}\n\n"
        );
    }

    #[test]
    fn ids_are_parsed_as_they_are_written() {
        for id in [
            EventId { run: 0, number: 1 },
            EventId {
                run: u32::MAX,
                number: u64::MAX,
            },
        ] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for bad in [
            "",
            "7",
            "x-1",
            "00000001-",
            "-1",
            "00000001--1",
            "100000000-1",
        ] {
            assert_eq!(bad.parse::<EventId>(), Err(InvalidEventId), "{bad}");
        }
    }

    #[test]
    fn debug_output_holds_no_completion() {
        let token = TaskEvent::Token(Token {
            t: "canary".into(),
            i: 0,
            reasoning: false,
        });
        assert!(!format!("{token:?}").contains("canary"));
    }
}
