//! Chats of OpenAI's API: what is asked, the answer piece by piece, and when each piece came.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Client, ClientError, Events, Routing, Served, clock::now};

/// Where chats go.
const PATH: &str = "/v1/chat/completions";
/// What ends a stream.
const DONE: &str = "[DONE]";

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ChatRequest {
    /// The model.
    pub model: String,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// The longest answer, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// How much chance there is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The beginning of the chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
}

/// One message of a conversation.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: &'static str,
    /// What was said.
    pub content: String,
}

impl std::fmt::Debug for Message {
    /// Without the text: prompts are never logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// A piece of an answer.
#[derive(Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text of the answer.
    Text(String),
    /// Text of what the model thinks before it answers.
    Reasoning(String),
}

/// When the pieces of an answer came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timing {
    /// From the request to the first piece.
    pub first: Option<Duration>,
    /// From each piece to the next.
    pub gaps: Vec<Duration>,
    /// From the request to the end.
    pub total: Duration,
    /// Pieces that came.
    pub pieces: u64,
    /// Tokens as the engine counted them; it may not.
    pub counted: Option<u64>,
}

impl Timing {
    /// Tokens: as counted by the engine, otherwise one per piece.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.counted.unwrap_or(self.pieces)
    }

    /// Tokens per second from the first piece to the end; `None` when there is no such time.
    #[must_use]
    pub fn tokens_per_second(&self) -> Option<f64> {
        let after_first = self.tokens().checked_sub(1).filter(|&tokens| tokens > 0)?;
        let time = self.total.checked_sub(self.first?)?.as_secs_f64();
        (time > 0.0).then(|| after_first as f64 / time)
    }
}

/// How a finished answer went.
#[derive(Debug, Clone, PartialEq)]
pub struct Chat {
    /// Who served it.
    pub served: Served,
    /// When its pieces came.
    pub timing: Timing,
    /// Why it ended, in the engine's word.
    pub finish_reason: Option<String>,
}

/// An answer that is still coming. Dropping it closes the connection, which ends the work on it.
#[derive(Debug)]
pub struct ChatStream {
    events: Events,
    sent: Instant,
    last: Option<Instant>,
    done: bool,
    chat: Chat,
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
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    completion_tokens: Option<u64>,
}

impl ChatStream {
    pub(crate) fn begin(
        client: &Client,
        chat: &ChatRequest,
        routing: &Routing,
    ) -> Result<Self, ClientError> {
        let body = body(client, chat, true)?;
        let sent = now();
        let answer = client.post_long(PATH, &body, routing)?;
        let served = Served::from_headers(answer.headers());
        Ok(Self {
            events: Events::new(client.url().to_owned(), answer.into_body()),
            sent,
            last: None,
            done: false,
            chat: Chat {
                served,
                timing: Timing::default(),
                finish_reason: None,
            },
        })
    }

    /// Who serves it.
    #[must_use]
    pub fn served(&self) -> &Served {
        &self.chat.served
    }

    /// The next piece; `None` when the answer is complete.
    ///
    /// # Errors
    /// When the answer breaks off, or the server tells of an error in it.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, ClientError> {
        while !self.done {
            let Some(event) = self.events.next_event()? else {
                return Err(self.events.broken("it ended without [DONE]"));
            };
            self.chat.timing.total = self.sent.elapsed();
            if event.data.trim() == DONE {
                self.done = true;
                break;
            }
            let data: Value = serde_json::from_str(&event.data)
                .map_err(|error| self.events.broken(&format!("an event is no JSON: {error}")))?;
            if let Some(error) = ClientError::in_event(&data) {
                return Err(error);
            }
            let chunk = Chunk::deserialize(&data).map_err(|error| {
                self.events
                    .broken(&format!("an event is not understood: {error}"))
            })?;
            if let Some(piece) = self.take(chunk) {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    /// How it went.
    #[must_use]
    pub fn finish(self) -> Chat {
        self.chat
    }

    fn take(&mut self, chunk: Chunk) -> Option<Piece> {
        if let Some(tokens) = chunk.usage.and_then(|usage| usage.completion_tokens) {
            self.chat.timing.counted = Some(tokens);
        }
        let choice = chunk.choices.into_iter().next()?;
        if choice.finish_reason.is_some() {
            self.chat.finish_reason = choice.finish_reason;
        }
        let piece = choice.delta.piece()?;
        let time = now();
        match self.last.replace(time) {
            None => self.chat.timing.first = Some(time.saturating_duration_since(self.sent)),
            Some(last) => self
                .chat
                .timing
                .gaps
                .push(time.saturating_duration_since(last)),
        }
        self.chat.timing.pieces = self.chat.timing.pieces.saturating_add(1);
        Some(piece)
    }
}

impl Delta {
    fn piece(self) -> Option<Piece> {
        let full = |text: Option<String>| text.filter(|text| !text.is_empty());
        full(self.content)
            .map(Piece::Text)
            .or_else(|| full(self.reasoning_content).map(Piece::Reasoning))
    }
}

/// An answer that came as a whole.
#[derive(Clone, PartialEq)]
pub struct Whole {
    /// Its text.
    pub text: String,
    /// How it went; there is no first piece.
    pub chat: Chat,
}

impl Whole {
    pub(crate) fn ask(
        client: &Client,
        chat: &ChatRequest,
        routing: &Routing,
    ) -> Result<Self, ClientError> {
        let body = body(client, chat, false)?;
        let sent = now();
        let answer = client.post_long(PATH, &body, routing)?;
        let (served, body) = client.whole(answer)?;
        let total = sent.elapsed();
        let chunk: Chunk = serde_json::from_slice(&body)
            .map_err(|error| client.not_understood(PATH, &error.to_string()))?;
        let Some(choice) = chunk.choices.into_iter().next() else {
            return Err(client.not_understood(PATH, "it has no choices"));
        };
        Ok(Self {
            text: choice.delta.content.unwrap_or_default(),
            chat: Chat {
                served,
                timing: Timing {
                    total,
                    counted: chunk.usage.and_then(|usage| usage.completion_tokens),
                    ..Timing::default()
                },
                finish_reason: choice.finish_reason,
            },
        })
    }
}

fn body(client: &Client, chat: &ChatRequest, stream: bool) -> Result<Value, ClientError> {
    let mut body = serde_json::to_value(chat)
        .map_err(|error| client.not_understood(PATH, &error.to_string()))?;
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
        let timing = Timing {
            first: Some(Duration::from_secs(1)),
            total: Duration::from_secs(3),
            counted: Some(21),
            ..Timing::default()
        };
        assert_eq!(timing.tokens_per_second(), Some(10.0));
        for without in [
            Timing::default(),
            Timing {
                counted: Some(1),
                ..timing.clone()
            },
            Timing {
                first: None,
                ..timing.clone()
            },
            Timing {
                total: Duration::from_secs(1),
                ..timing
            },
        ] {
            assert_eq!(without.tokens_per_second(), None);
        }
    }

    #[test]
    fn no_debug_output_holds_a_prompt() {
        let message = Message {
            role: "user",
            content: "canary".to_owned(),
        };
        let shown = format!(
            "{message:?} {:?}",
            ChatRequest {
                messages: vec![message.clone()],
                ..ChatRequest::default()
            }
        );
        assert!(!shown.contains("canary"), "{shown}");
    }
}
