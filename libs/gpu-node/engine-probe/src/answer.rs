//! Tolerant parsing of engines' answers. No I/O.

// These numbers come from engines: arithmetic must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use pool_registry_types::EngineKind;
use serde_json::Value;

/// The tag that Ollama adds to a model name without one.
const OLLAMA_DEFAULT_TAG: &str = ":latest";

/// How much of an engine's error a reason repeats, in characters.
pub(crate) const MAX_WORDS: usize = 200;

/// The models in an answer to `GET /v1/models`, with their aliases; `None` when it has another
/// format.
pub(crate) fn models(kind: &EngineKind, body: &[u8]) -> Option<Vec<String>> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let entries = answer.get("data").unwrap_or(&answer).as_array()?;
    let mut names: Vec<String> = entries
        .iter()
        .flat_map(names_of)
        .map(str::to_owned)
        .collect();
    if kind.as_str() == "ollama" {
        let short = |name: &String| name.strip_suffix(OLLAMA_DEFAULT_TAG).map(str::to_owned);
        let untagged: Vec<String> = names.iter().filter_map(short).collect();
        names.extend(untagged);
    }
    Some(names)
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

/// The error in an engine's answer: `{"error":{"message":…}}`, `{"error":…}`, or none.
pub(crate) fn error_message(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let error = answer.get("error")?;
    let words = error.get("message").unwrap_or(error).as_str()?;
    Some(words.chars().take(MAX_WORDS).collect())
}
