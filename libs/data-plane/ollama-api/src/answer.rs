//! Answers: whole ones, and streams event by event.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    error::{error, message_of},
    request::Kind,
    tools::CallInPieces,
};

/// The most bytes of tool calls that are held until they are complete.
const MAX_CALL_BYTES: usize = 1024 * 1024;

/// The most tool calls of one answer.
const MAX_CALLS: usize = 128;

/// The time of a piece of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The time of day (RFC 3339).
    pub created_at: &'a str,
    /// The time since the request came, in nanoseconds.
    pub elapsed_ns: u64,
}

/// One answer on its way to the client.
#[derive(Debug)]
pub struct Answer {
    kind: Kind,
    model: String,
    calls: Vec<CallInPieces>,
    finish_reason: Option<String>,
    usage: Usage,
    first_token_ns: Option<u64>,
    is_over: bool,
}

/// The engine's counts, and the times that some engines report.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    prompt_ms: Option<f64>,
    predicted_ms: Option<f64>,
}

/// An event of a stream, or a whole answer.
#[derive(Debug, Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Counts>,
    #[serde(default)]
    timings: Option<Timings>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(default, alias = "message")]
    delta: Option<Delta>,
    /// Of a raw prompt.
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default, alias = "reasoning")]
    reasoning_content: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
struct Counts {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

#[derive(Debug, Deserialize)]
struct Timings {
    #[serde(default)]
    prompt_ms: Option<f64>,
    #[serde(default)]
    predicted_ms: Option<f64>,
}

impl Answer {
    /// The answer to a request for `model`.
    #[must_use]
    pub fn new(kind: Kind, model: &str) -> Self {
        Self {
            kind,
            model: model.to_owned(),
            calls: Vec::new(),
            finish_reason: None,
            usage: Usage::default(),
            first_token_ns: None,
            is_over: false,
        }
    }

    /// The answer when a model is only to be loaded: engines are always loaded.
    #[must_use]
    pub fn loaded(&self, now: Moment<'_>) -> Vec<u8> {
        let mut line = match self.kind {
            Kind::Embed => json!({"model": self.model, "embeddings": []}),
            Kind::Embeddings => json!({"embedding": []}),
            _ => self.line(now, String::new(), None, Vec::new()),
        };
        if let (Kind::Chat | Kind::Generate | Kind::Raw, Some(line)) =
            (self.kind, line.as_object_mut())
        {
            line.insert("done".to_owned(), true.into());
            line.insert("done_reason".to_owned(), "load".into());
        }
        as_line(&line)
    }

    /// Translates the data of an event. Returns whole lines, or nothing.
    pub fn event(&mut self, data: &[u8], now: Moment<'_>) -> Vec<u8> {
        if self.is_over {
            return Vec::new();
        }
        if data.trim_ascii() == b"[DONE]" {
            return self.end(now);
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk>(data) else {
            return Vec::new();
        };
        if let Some(reason) = &chunk.error {
            let message = message_of(reason);
            return self.failed(message.as_deref().unwrap_or("the engine reported an error"));
        }
        let (text, thinking) = self.take(chunk);
        if text.is_empty() && thinking.is_none() {
            return Vec::new();
        }
        self.first_token_ns.get_or_insert(now.elapsed_ns);
        as_line(&self.line(now, text, thinking, Vec::new()))
    }

    /// The stream is over. Returns the last line.
    pub fn end(&mut self, now: Moment<'_>) -> Vec<u8> {
        if std::mem::replace(&mut self.is_over, true) {
            return Vec::new();
        }
        if self.finish_reason.is_none() {
            return as_line(&error_line("the answer broke off"));
        }
        let line = self.last_line(now, String::new(), None);
        as_line(&line)
    }

    /// The stream ends with an error.
    pub fn failed(&mut self, message: &str) -> Vec<u8> {
        self.is_over = true;
        as_line(&error_line(message))
    }

    /// Translates a whole answer.
    #[must_use]
    pub fn whole(mut self, response: &[u8], now: Moment<'_>) -> Vec<u8> {
        if matches!(self.kind, Kind::Embed | Kind::Embeddings) {
            return embeddings(self.kind, &self.model, response, now);
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk>(response) else {
            return error("the engine's answer is not valid");
        };
        let (text, thinking) = self.take(chunk);
        self.last_line(now, text, thinking).to_string().into_bytes()
    }

    /// Keeps what the last line needs, and returns the text and the thoughts.
    fn take(&mut self, chunk: Chunk) -> (String, Option<String>) {
        if let Some(counts) = chunk.usage {
            self.usage.prompt_tokens = counts.prompt_tokens;
            self.usage.completion_tokens = counts.completion_tokens;
        }
        if let Some(timings) = chunk.timings {
            self.usage.prompt_ms = timings.prompt_ms;
            self.usage.predicted_ms = timings.predicted_ms;
        }
        let Some(choice) = chunk.choices.into_iter().next() else {
            return (String::new(), None);
        };
        if let Some(reason) = choice.finish_reason {
            self.finish_reason = Some(reason);
        }
        let delta = choice.delta.unwrap_or_default();
        for (index, piece) in delta.tool_calls.iter().flatten().enumerate() {
            self.add_call(index, piece);
        }
        let text = delta.content.or(choice.text).unwrap_or_default();
        (
            text,
            delta.reasoning_content.filter(|text| !text.is_empty()),
        )
    }

    fn add_call(&mut self, position: usize, piece: &Value) {
        let index = piece.get("index").and_then(Value::as_u64);
        let index = index.map_or(position, |index| {
            usize::try_from(index).unwrap_or(usize::MAX)
        });
        let held: usize = self.calls.iter().map(CallInPieces::len).sum();
        if index >= MAX_CALLS || held > MAX_CALL_BYTES {
            return;
        }
        while self.calls.len() <= index {
            self.calls.push(CallInPieces::default());
        }
        if let Some(call) = self.calls.get_mut(index) {
            call.add(piece);
        }
    }

    /// A line that is not the last one.
    fn line(
        &self,
        now: Moment<'_>,
        text: String,
        thinking: Option<String>,
        calls: Vec<Value>,
    ) -> Value {
        let mut line = Map::new();
        line.insert("model".to_owned(), self.model.as_str().into());
        line.insert("created_at".to_owned(), now.created_at.into());
        let thinking = thinking.map(Value::from);
        if self.kind == Kind::Chat {
            let mut message = json!({"role": "assistant", "content": text});
            if let Some(message) = message.as_object_mut() {
                message.extend(thinking.map(|text| ("thinking".to_owned(), text)));
                if !calls.is_empty() {
                    message.insert("tool_calls".to_owned(), calls.into());
                }
            }
            line.insert("message".to_owned(), message);
        } else {
            line.insert("response".to_owned(), text.into());
            line.extend(thinking.map(|text| ("thinking".to_owned(), text)));
        }
        line.insert("done".to_owned(), false.into());
        line.into()
    }

    fn last_line(&mut self, now: Moment<'_>, text: String, thinking: Option<String>) -> Value {
        let calls = std::mem::take(&mut self.calls);
        let calls = calls.into_iter().map(CallInPieces::finish).collect();
        let mut line = self.line(now, text, thinking, calls);
        let reason = match self.finish_reason.as_deref() {
            Some("length") => "length",
            _ => "stop",
        };
        let first = self.first_token_ns.unwrap_or(0).min(now.elapsed_ns);
        let prompt_ns = self.usage.prompt_ms.map_or(first, nanos);
        let eval_ns = self.usage.predicted_ms.map(nanos);
        let eval_ns = eval_ns.unwrap_or_else(|| now.elapsed_ns.saturating_sub(first));
        if let Some(line) = line.as_object_mut() {
            for (name, value) in [
                ("done", Value::from(true)),
                ("done_reason", reason.into()),
                ("total_duration", now.elapsed_ns.into()),
                ("load_duration", 0.into()),
                ("prompt_eval_count", self.usage.prompt_tokens.into()),
                ("prompt_eval_duration", prompt_ns.into()),
                ("eval_count", self.usage.completion_tokens.into()),
                ("eval_duration", eval_ns.into()),
            ] {
                line.insert(name.to_owned(), value);
            }
        }
        line
    }
}

/// Milliseconds as whole nanoseconds; a cast of a float saturates.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float saturates"
)]
fn nanos(millis: f64) -> u64 {
    (millis * 1e6) as u64
}

fn error_line(message: &str) -> Value {
    json!({ "error": message })
}

fn as_line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[derive(Debug, Deserialize)]
struct EmbeddingList {
    data: Vec<Embedding>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Debug, Deserialize)]
struct Embedding {
    #[serde(default)]
    index: u64,
    embedding: Value,
}

/// Translates a list of embeddings.
#[must_use]
pub fn embeddings(kind: Kind, model: &str, response: &[u8], now: Moment<'_>) -> Vec<u8> {
    let Ok(mut list) = serde_json::from_slice::<EmbeddingList>(response) else {
        return error("the engine's answer is not valid");
    };
    list.data.sort_by_key(|embedding| embedding.index);
    let count = list.usage.map_or(0, |usage| usage.prompt_tokens);
    let mut vectors = list.data.into_iter().map(|embedding| embedding.embedding);
    let body = if kind == Kind::Embeddings {
        json!({"embedding": vectors.next().unwrap_or_else(|| json!([]))})
    } else {
        json!({
            "model": model,
            "embeddings": vectors.collect::<Vec<_>>(),
            "total_duration": now.elapsed_ns,
            "load_duration": 0,
            "prompt_eval_count": count,
        })
    };
    body.to_string().into_bytes()
}

#[cfg(test)]
mod tests;
