//! Tolerant parsing of what every kind of engine answers: its list of models, and its errors. No
//! I/O.

// These numbers come from engines: arithmetic must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use serde_json::Value;

use crate::parse::{count, json};

/// How much of an engine's error a reason repeats, in characters.
pub(crate) const MAX_WORDS: usize = 200;

/// An answer to `GET /v1/models`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ModelList {
    /// The models, their aliases and their LoRA adapters.
    pub(crate) names: Vec<String>,
    /// The largest context length of a model, if the engine reports it of every one.
    pub(crate) context_length: Option<u32>,
    /// Who owns the models, if it is the same for all.
    pub(crate) owned_by: Option<String>,
}

/// Reads an answer to `GET /v1/models`; `None` when it has another format.
pub(crate) fn models(body: &[u8]) -> Option<ModelList> {
    let answer = json(body)?;
    let entries = answer.get("data").unwrap_or(&answer).as_array()?;
    // An adapter has the context of its base model, which is listed as well.
    let own = || entries.iter().filter(|entry| !is_adapter(entry));
    Some(ModelList {
        names: entries
            .iter()
            .flat_map(names_of)
            .map(str::to_owned)
            .collect(),
        context_length: known_of_all(own().map(context_of), u32::max),
        owned_by: known_of_all(own().map(owner_of), |one, other| {
            // Two owners are none.
            if one == other { one } else { "" }
        })
        .filter(|owner| !owner.is_empty())
        .map(str::to_owned),
    })
}

/// What `join` makes of all values; `None` when one is not known, or there are none.
fn known_of_all<T>(values: impl Iterator<Item = Option<T>>, join: impl Fn(T, T) -> T) -> Option<T> {
    values
        .reduce(|one, other| Some(join(one?, other?)))
        .flatten()
}

/// `id`, and what llama.cpp lists as `aliases`.
fn names_of(entry: &Value) -> impl Iterator<Item = &str> {
    let aliases = entry.get("aliases").and_then(Value::as_array);
    entry
        .get("id")
        .into_iter()
        .chain(aliases.into_iter().flatten())
        .filter_map(Value::as_str)
}

/// vLLM and SGLang name the base model of a LoRA adapter as its `parent`.
fn is_adapter(entry: &Value) -> bool {
    entry.get("parent").is_some_and(Value::is_string)
}

/// The most tokens of one request to a model: `max_model_len` of vLLM and SGLang, `meta.n_ctx` of
/// llama.cpp.
fn context_of(entry: &Value) -> Option<u32> {
    count(entry.get("max_model_len"))
        .or_else(|| count(entry.pointer("/meta/n_ctx")))
        .filter(|tokens| *tokens > 0)
}

fn owner_of(entry: &Value) -> Option<&str> {
    entry.get("owned_by").and_then(Value::as_str)
}

/// The error in an engine's answer: `{"error":{"message":…}}`, `{"error":…}`, or none.
pub(crate) fn error_message(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let error = answer.get("error")?;
    let words = error.get("message").unwrap_or(error).as_str()?;
    Some(words.chars().take(MAX_WORDS).collect())
}
