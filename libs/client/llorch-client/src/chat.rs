//! OpenAI chats: the request, the streamed answer, and the time of each delta.

// The server chooses the numbers: arithmetic on them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::{
    fmt,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    clock::now,
    error::ClientError,
    event_stream::EventStream,
    routing::{RoutingOptions, ServedBy},
    transport::Transport,
};

/// The route of chats.
const PATH: &str = "/v1/chat/completions";
/// The last event of a stream.
const DONE: &str = "[DONE]";

/// A chat.
///
/// ```
/// use llorch_client::{ChatRequest, Message};
///
/// let mut chat = ChatRequest::new("tiny", vec![Message::user("count")]);
/// chat.max_tokens = Some(8);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ChatRequest {
    /// The model.
    pub model: String,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// The limit on the answer, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// The sampling temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The seed of the sampler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
}

impl ChatRequest {
    /// A chat with the sampling defaults of the engine.
    #[must_use]
    pub fn new(model: impl Into<String>, messages: Vec<Message>) -> Self {
        Self {
            model: model.into(),
            messages,
            max_tokens: None,
            temperature: None,
            seed: None,
        }
    }
}

/// A message of a conversation.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Message {
    /// The author.
    pub role: Role,
    /// The text.
    pub content: String,
}

/// The author of a [`Message`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
}

impl Message {
    /// Instructions for the whole conversation.
    #[must_use]
    pub fn system(content: impl Into<String>) -> Self {
        Self::new(Role::System, content)
    }

    /// A message of the user.
    #[must_use]
    pub fn user(content: impl Into<String>) -> Self {
        Self::new(Role::User, content)
    }

    /// An answer of the model.
    #[must_use]
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new(Role::Assistant, content)
    }

    fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
        }
    }
}

impl fmt::Debug for Message {
    /// Leaves out the text: prompts are never logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// A part of a streamed answer.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChatDelta {
    /// Text of the answer.
    Text(String),
    /// Text of the reasoning before the answer.
    Reasoning(String),
}

/// When the deltas of an answer arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChatTiming {
    /// From the request to the first delta.
    pub first: Option<Duration>,
    /// From each delta to the next.
    pub gaps: Vec<Duration>,
    /// From the request to the end.
    pub total: Duration,
    /// The number of deltas.
    pub deltas: u64,
    /// The tokens of the answer by the engine's `usage`; `None` when it sends none.
    pub usage_tokens: Option<u64>,
}

impl ChatTiming {
    /// The tokens of the answer: by the engine's `usage`, else one for each delta.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.usage_tokens.unwrap_or(self.deltas)
    }

    /// Tokens per second from the first delta to the end; `None` with fewer than two tokens.
    #[must_use]
    pub fn tokens_per_second(&self) -> Option<f64> {
        let after_first = self.tokens().checked_sub(1).filter(|&tokens| tokens > 0)?;
        let time = self.total.checked_sub(self.first?)?.as_secs_f64();
        (time > 0.0).then(|| after_first as f64 / time)
    }
}

/// What is known about an answer besides its text.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ChatSummary {
    /// The replica that served it.
    pub served_by: ServedBy,
    /// When its deltas arrived.
    pub timing: ChatTiming,
    /// Why it ended, as the engine says it: `stop`, `length`.
    pub finish_reason: Option<String>,
}

/// A streamed answer. Dropping it closes the connection, which cancels the request.
#[derive(Debug)]
pub struct ChatStream {
    events: EventStream,
    sent: Instant,
    last_delta: Option<Instant>,
    is_done: bool,
    summary: ChatSummary,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(alias = "message", default)]
    delta: DeltaFields,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct DeltaFields {
    content: Option<String>,
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    completion_tokens: Option<u64>,
}

impl ChatStream {
    pub(crate) fn start(
        transport: &Transport,
        chat: &ChatRequest,
        routing: &RoutingOptions,
    ) -> Result<Self, ClientError> {
        let body = body(chat, true)?;
        let sent = now();
        let response = transport.post_inference(PATH, &body, routing)?;
        let summary = ChatSummary {
            served_by: ServedBy::from_headers(response.headers()),
            ..ChatSummary::default()
        };
        Ok(Self {
            events: transport.event_stream(response),
            sent,
            last_delta: None,
            is_done: false,
            summary,
        })
    }

    /// The replica that serves it.
    #[must_use]
    pub fn served_by(&self) -> &ServedBy {
        &self.summary.served_by
    }

    /// Waits for the next delta; `None` after the last.
    ///
    /// # Errors
    /// When the connection breaks, the stream ends without `[DONE]`, or it contains an error.
    pub fn next_delta(&mut self) -> Result<Option<ChatDelta>, ClientError> {
        while !self.is_done {
            let Some(event) = self.events.next_event()? else {
                return Err(self.events.interrupted("it ended without [DONE]"));
            };
            self.summary.timing.total = self.sent.elapsed();
            if event.data.trim() == DONE {
                self.is_done = true;
                break;
            }
            let data: Value = serde_json::from_str(&event.data).map_err(|error| {
                self.events
                    .interrupted(&format!("an event is no JSON: {error}"))
            })?;
            if let Some(error) = ClientError::in_event(&data) {
                return Err(error);
            }
            let chunk = Chunk::deserialize(&data).map_err(|error| {
                self.events
                    .interrupted(&format!("an event is not understood: {error}"))
            })?;
            if let Some(delta) = self.record(chunk) {
                return Ok(Some(delta));
            }
        }
        Ok(None)
    }

    /// The summary of the answer so far.
    #[must_use]
    pub fn finish(self) -> ChatSummary {
        self.summary
    }

    /// Records the time of a chunk, and returns its delta.
    fn record(&mut self, chunk: Chunk) -> Option<ChatDelta> {
        let ChatSummary {
            timing,
            finish_reason,
            ..
        } = &mut self.summary;
        if let Some(tokens) = chunk.usage.and_then(|usage| usage.completion_tokens) {
            timing.usage_tokens = Some(tokens);
        }
        let choice = chunk.choices.into_iter().next()?;
        if choice.finish_reason.is_some() {
            *finish_reason = choice.finish_reason;
        }
        let delta = choice.delta.into_delta()?;
        let time = now();
        match self.last_delta.replace(time) {
            None => timing.first = Some(time.saturating_duration_since(self.sent)),
            Some(last) => timing.gaps.push(time.saturating_duration_since(last)),
        }
        timing.deltas = timing.deltas.saturating_add(1);
        Some(delta)
    }
}

impl DeltaFields {
    fn into_delta(self) -> Option<ChatDelta> {
        let not_empty = |text: Option<String>| text.filter(|text| !text.is_empty());
        not_empty(self.content)
            .map(ChatDelta::Text)
            .or_else(|| not_empty(self.reasoning_content).map(ChatDelta::Reasoning))
    }
}

/// An answer that was not streamed.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct ChatCompletion {
    /// Its text.
    pub text: String,
    /// Its summary, without the times of deltas.
    pub summary: ChatSummary,
}

impl ChatCompletion {
    pub(crate) fn request(
        transport: &Transport,
        chat: &ChatRequest,
        routing: &RoutingOptions,
    ) -> Result<Self, ClientError> {
        let body = body(chat, false)?;
        let sent = now();
        let response = transport.post_inference(PATH, &body, routing)?;
        let (served_by, body) = transport.read_body(response)?;
        let total = sent.elapsed();
        let chunk: Chunk = serde_json::from_slice(&body)
            .map_err(|error| transport.invalid_response(PATH, &error.to_string()))?;
        let Some(choice) = chunk.choices.into_iter().next() else {
            return Err(transport.invalid_response(PATH, "it has no choices"));
        };
        Ok(Self {
            text: choice.delta.content.unwrap_or_default(),
            summary: ChatSummary {
                served_by,
                timing: ChatTiming {
                    total,
                    usage_tokens: chunk.usage.and_then(|usage| usage.completion_tokens),
                    ..ChatTiming::default()
                },
                finish_reason: choice.finish_reason,
            },
        })
    }
}

fn body(chat: &ChatRequest, stream: bool) -> Result<Value, ClientError> {
    let mut body = serde_json::to_value(chat).map_err(|error| ClientError::InvalidRequest {
        reason: error.to_string(),
    })?;
    body["stream"] = stream.into();
    if stream {
        body["stream_options"] = serde_json::json!({"include_usage": true});
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_that_of_the_tokens_after_the_first() {
        let timing = ChatTiming {
            first: Some(Duration::from_secs(1)),
            total: Duration::from_secs(3),
            usage_tokens: Some(21),
            ..ChatTiming::default()
        };
        assert_eq!(timing.tokens_per_second(), Some(10.0));
        for without in [
            ChatTiming::default(),
            ChatTiming {
                usage_tokens: Some(1),
                ..timing.clone()
            },
            ChatTiming {
                first: None,
                ..timing.clone()
            },
            ChatTiming {
                total: Duration::from_secs(1),
                ..timing
            },
        ] {
            assert_eq!(without.tokens_per_second(), None);
        }
    }

    #[test]
    fn no_debug_output_holds_a_prompt() {
        let message = Message::user("canary");
        let chat = ChatRequest::new("tiny", vec![message.clone()]);
        let shown = format!("{message:?} {chat:?}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}
