//! Reads an engine's response, streamed or whole, and turns it into changes of the task.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use http::StatusCode;
use pool_registry_types::ErrorCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    event::{EngineFigures, TaskError},
    task::TaskChange,
};

/// The end of a stream of completions.
const DONE: &[u8] = b"[DONE]";

/// The fields that are read from a chunk of a stream and from a whole response. They differ only in
/// `delta` and `message`.
#[derive(Deserialize)]
struct Chunk<'a> {
    choices: Option<Vec<Choice>>,
    data: Option<Vec<Vector>>,
    // Parsed separately: invalid figures must not spoil the answer.
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    timings: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice {
    text: Option<Box<str>>,
    /// In a stream.
    delta: Option<Delta>,
    /// In a whole answer.
    message: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<Box<str>>,
    /// The name in llama.cpp and SGLang.
    reasoning_content: Option<Box<str>>,
    /// The name in newer vLLM versions, some of which send both.
    reasoning: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Vector {
    index: Option<u32>,
    embedding: Box<RawValue>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

/// The figures of llama-server.
#[derive(Deserialize)]
struct Timings {
    prompt_n: Option<u64>,
    cache_n: Option<u64>,
    predicted_n: Option<u64>,
    prompt_ms: Option<f64>,
    predicted_ms: Option<f64>,
}

/// An error as an engine or the gateway reports it.
#[derive(Deserialize)]
struct ReportedError<'a> {
    message: Option<String>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow)]
    error: &'a RawValue,
}

/// Reads one response.
#[derive(Default)]
pub(crate) struct ResponseReader {
    figures: EngineFigures,
    finish_reason: Option<String>,
    /// The change that ends the task was made.
    is_over: bool,
}

impl ResponseReader {
    /// Reads one event of a stream.
    pub(crate) fn event(&mut self, name: &str, data: &[u8], changes: &mut Vec<TaskChange>) {
        if self.is_over {
            return;
        }
        let data = data.trim_ascii();
        if data == DONE {
            self.finish(changes);
        } else if name == "error" {
            self.fail(read_error(data, StatusCode::BAD_GATEWAY), changes);
        } else {
            self.chunk(data, changes);
        }
    }

    /// Reads a whole response.
    pub(crate) fn whole(&mut self, body: &[u8], changes: &mut Vec<TaskChange>) {
        self.chunk(body, changes);
        if !self.is_over {
            self.finish(changes);
        }
    }

    /// The stream is over.
    pub(crate) fn end(&mut self, changes: &mut Vec<TaskChange>) {
        if !self.is_over {
            let message = "the engine broke off in the middle of its answer";
            self.fail(TaskError::new(ErrorCode::WorkerReset, message), changes);
        }
    }

    fn chunk(&mut self, data: &[u8], changes: &mut Vec<TaskChange>) {
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data) else {
            // The parser's error is not repeated, because it may contain a part of the answer.
            let message = "the engine's answer is not of the form that was asked for";
            return self.fail(TaskError::new(ErrorCode::WorkerReset, message), changes);
        };
        if let Some(error) = chunk.error.filter(|error| error.get() != "null") {
            return self.fail(task_error(error, StatusCode::BAD_GATEWAY), changes);
        }
        // Requests ask for one choice.
        if let Some(choice) = chunk.choices.unwrap_or_default().into_iter().next() {
            self.choice(choice, changes);
        }
        for (number, vector) in (0..).zip(chunk.data.unwrap_or_default()) {
            changes.push(TaskChange::Embedding {
                index: vector.index.unwrap_or(number),
                values: vector.embedding,
            });
        }
        self.note(chunk.usage, chunk.timings);
    }

    fn choice(&mut self, choice: Choice, changes: &mut Vec<TaskChange>) {
        let (content, reasoning) = choice
            .delta
            .or(choice.message)
            .map_or((None, None), |delta| {
                (delta.content, delta.reasoning_content.or(delta.reasoning))
            });
        for (text, reasoning) in [(reasoning, true), (content, false), (choice.text, false)] {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                changes.push(TaskChange::Token { text, reasoning });
            }
        }
        if choice.finish_reason.is_some() {
            self.finish_reason = choice.finish_reason;
        }
    }

    /// Keeps the latest figures.
    fn note(&mut self, usage: Option<&RawValue>, timings: Option<&RawValue>) {
        let figures = &mut self.figures;
        if let Some(timings) = parse::<Timings>(timings) {
            let prompt = timings
                .prompt_n
                .map(|new| new.saturating_add(timings.cache_n.unwrap_or_default()));
            figures.prompt_tokens = prompt.or(figures.prompt_tokens);
            figures.cached_tokens = timings.cache_n.or(figures.cached_tokens);
            figures.completion_tokens = timings.predicted_n.or(figures.completion_tokens);
            figures.prompt_ms = timings.prompt_ms.or(figures.prompt_ms);
            figures.predicted_ms = timings.predicted_ms.or(figures.predicted_ms);
        }
        if let Some(usage) = parse::<Usage>(usage) {
            let cached = usage
                .prompt_tokens_details
                .and_then(|details| details.cached_tokens);
            figures.prompt_tokens = usage.prompt_tokens.or(figures.prompt_tokens);
            figures.cached_tokens = cached.or(figures.cached_tokens);
            figures.completion_tokens = usage.completion_tokens.or(figures.completion_tokens);
        }
    }

    fn finish(&mut self, changes: &mut Vec<TaskChange>) {
        self.is_over = true;
        changes.push(TaskChange::Finished {
            figures: std::mem::take(&mut self.figures),
            reason: self.finish_reason.take(),
        });
    }

    fn fail(&mut self, error: TaskError, changes: &mut Vec<TaskChange>) {
        self.is_over = true;
        changes.push(TaskChange::Failed(error));
    }
}

fn parse<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

/// Reads the body of an error response with this status.
pub(crate) fn read_error(body: &[u8], status: StatusCode) -> TaskError {
    match serde_json::from_slice::<ErrorBody<'_>>(body) {
        Ok(body) => task_error(body.error, status),
        Err(_) => TaskError::new(code_of(status), "the engine refused the request"),
    }
}

fn task_error(error: &RawValue, status: StatusCode) -> TaskError {
    let reported = parse::<ReportedError<'_>>(Some(error));
    let own_code = reported.as_ref().and_then(|reported| {
        let name = parse::<String>(reported.code)?;
        ErrorCode::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == name)
    });
    // Engines use the status as the code.
    let status = reported
        .as_ref()
        .and_then(|reported| parse::<u16>(reported.code))
        .and_then(|code| StatusCode::from_u16(code).ok())
        .filter(|status| status.is_client_error() || status.is_server_error())
        .unwrap_or(status);
    let message = reported.and_then(|reported| reported.message);
    TaskError::new(
        own_code.unwrap_or_else(|| code_of(status)),
        message.unwrap_or_else(|| "the engine reported an error".to_owned()),
    )
}

/// The error code for an engine's status.
fn code_of(status: StatusCode) -> ErrorCode {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::PayloadTooLarge,
        StatusCode::TOO_MANY_REQUESTS => ErrorCode::QueueFull,
        // The engine's key belongs to the node, so the client cannot correct it.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::SERVICE_UNAVAILABLE => {
            ErrorCode::PoolUnavailable
        }
        StatusCode::GATEWAY_TIMEOUT => ErrorCode::DeadlineExceeded,
        status if status.is_client_error() => ErrorCode::InvalidRequest,
        _ => ErrorCode::WorkerReset,
    }
}

#[cfg(test)]
mod tests;
