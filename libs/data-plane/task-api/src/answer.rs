//! Reads an engine's answer, streamed or whole, and says what it means for the task.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use http::StatusCode;
use pool_registry_types::ErrorCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    event::{EngineFacts, Failure},
    task::Change,
};

/// How a completions stream ends.
const DONE: &[u8] = b"[DONE]";

/// What is read of a chunk of a stream, and of a whole answer: they differ in a word.
#[derive(Deserialize)]
struct Chunk<'a> {
    choices: Option<Vec<Choice>>,
    data: Option<Vec<Vector>>,
    // Numbers for people: whatever is strange about them must not spoil the answer.
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
    /// As llama.cpp and SGLang call it.
    reasoning_content: Option<Box<str>>,
    /// As newer vLLMs call it, some of them beside the other name.
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

/// llama-server's own figures.
#[derive(Deserialize)]
struct Timings {
    prompt_n: Option<u64>,
    cache_n: Option<u64>,
    predicted_n: Option<u64>,
    prompt_ms: Option<f64>,
    predicted_ms: Option<f64>,
}

/// What an engine or the gateway says of an error.
#[derive(Deserialize)]
struct Told<'a> {
    message: Option<String>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ErrorAnswer<'a> {
    #[serde(borrow)]
    error: &'a RawValue,
}

/// What has been read of one answer.
#[derive(Default)]
pub(crate) struct Answer {
    facts: EngineFacts,
    reason: Option<String>,
    /// How it ended has been said.
    is_over: bool,
}

impl Answer {
    /// Reads one event of a stream.
    pub(crate) fn event(&mut self, name: &str, data: &[u8], changes: &mut Vec<Change>) {
        if self.is_over {
            return;
        }
        let data = data.trim_ascii();
        if data == DONE {
            self.finish(changes);
        } else if name == "error" {
            self.fail(failure(data, StatusCode::BAD_GATEWAY), changes);
        } else {
            self.chunk(data, changes);
        }
    }

    /// Reads an answer that came in one piece.
    pub(crate) fn whole(&mut self, body: &[u8], changes: &mut Vec<Change>) {
        self.chunk(body, changes);
        if !self.is_over {
            self.finish(changes);
        }
    }

    /// The stream is over.
    pub(crate) fn end(&mut self, changes: &mut Vec<Change>) {
        if !self.is_over {
            let message = "the engine broke off in the middle of its answer";
            self.fail(Failure::new(ErrorCode::WorkerReset, message), changes);
        }
    }

    fn chunk(&mut self, data: &[u8], changes: &mut Vec<Change>) {
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data) else {
            // What it says of itself is not repeated: it may hold a part of the answer.
            let message = "the engine's answer is not of the form that was asked for";
            return self.fail(Failure::new(ErrorCode::WorkerReset, message), changes);
        };
        if let Some(error) = chunk.error.filter(|error| error.get() != "null") {
            return self.fail(told(error, StatusCode::BAD_GATEWAY), changes);
        }
        // One choice is asked for.
        if let Some(choice) = chunk.choices.unwrap_or_default().into_iter().next() {
            self.choice(choice, changes);
        }
        for (number, vector) in (0..).zip(chunk.data.unwrap_or_default()) {
            changes.push(Change::Embedding {
                index: vector.index.unwrap_or(number),
                values: vector.embedding,
            });
        }
        self.note(chunk.usage, chunk.timings);
    }

    fn choice(&mut self, choice: Choice, changes: &mut Vec<Change>) {
        let (content, reasoning) = choice
            .delta
            .or(choice.message)
            .map_or((None, None), |delta| {
                (delta.content, delta.reasoning_content.or(delta.reasoning))
            });
        for (text, reasoning) in [(reasoning, true), (content, false), (choice.text, false)] {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                changes.push(Change::Token { text, reasoning });
            }
        }
        if choice.finish_reason.is_some() {
            self.reason = choice.finish_reason;
        }
    }

    /// Keeps the latest figures.
    fn note(&mut self, usage: Option<&RawValue>, timings: Option<&RawValue>) {
        let facts = &mut self.facts;
        if let Some(timings) = parse::<Timings>(timings) {
            let prompt = timings
                .prompt_n
                .map(|new| new.saturating_add(timings.cache_n.unwrap_or_default()));
            facts.prompt_tokens = prompt.or(facts.prompt_tokens);
            facts.cached_tokens = timings.cache_n.or(facts.cached_tokens);
            facts.completion_tokens = timings.predicted_n.or(facts.completion_tokens);
            facts.prompt_ms = timings.prompt_ms.or(facts.prompt_ms);
            facts.predicted_ms = timings.predicted_ms.or(facts.predicted_ms);
        }
        if let Some(usage) = parse::<Usage>(usage) {
            let cached = usage
                .prompt_tokens_details
                .and_then(|details| details.cached_tokens);
            facts.prompt_tokens = usage.prompt_tokens.or(facts.prompt_tokens);
            facts.cached_tokens = cached.or(facts.cached_tokens);
            facts.completion_tokens = usage.completion_tokens.or(facts.completion_tokens);
        }
    }

    fn finish(&mut self, changes: &mut Vec<Change>) {
        self.is_over = true;
        changes.push(Change::Finished {
            facts: std::mem::take(&mut self.facts),
            reason: self.reason.take(),
        });
    }

    fn fail(&mut self, failure: Failure, changes: &mut Vec<Change>) {
        self.is_over = true;
        changes.push(Change::Failed(failure));
    }
}

fn parse<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

/// The failure that an error answer with this status tells of.
pub(crate) fn failure(body: &[u8], status: StatusCode) -> Failure {
    match serde_json::from_slice::<ErrorAnswer<'_>>(body) {
        Ok(answer) => told(answer.error, status),
        Err(_) => Failure::new(code_of(status), "the engine refused the request"),
    }
}

fn told(error: &RawValue, status: StatusCode) -> Failure {
    let told = parse::<Told<'_>>(Some(error));
    let own_code = told.as_ref().and_then(|told| {
        let name = parse::<String>(told.code)?;
        ErrorCode::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == name)
    });
    // Engines write the status there.
    let status = told
        .as_ref()
        .and_then(|told| parse::<u16>(told.code))
        .and_then(|code| StatusCode::from_u16(code).ok())
        .filter(|status| status.is_client_error() || status.is_server_error())
        .unwrap_or(status);
    let message = told.and_then(|told| told.message);
    Failure::new(
        own_code.unwrap_or_else(|| code_of(status)),
        message.unwrap_or_else(|| "the engine reported an error".to_owned()),
    )
}

/// What an engine's status means for a task.
fn code_of(status: StatusCode) -> ErrorCode {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::PayloadTooLarge,
        StatusCode::TOO_MANY_REQUESTS => ErrorCode::QueueFull,
        // The engine's key is ours to know: the client can do nothing about it.
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
