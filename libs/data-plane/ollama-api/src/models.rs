//! What is known of models.

use serde_json::{Value, json};

/// The version of Ollama's API that is translated. Editors refuse older ones.
pub const API_VERSION: &str = "0.12.0";

/// An engine stays loaded: no client lives to see this.
const NEVER: &str = "9999-12-31T23:59:59Z";

/// What a gateway does not know of a model: Ollama's names of files and quantizations.
fn details() -> Value {
    json!({
        "parent_model": "", "format": "", "family": "", "families": [],
        "parameter_size": "", "quantization_level": "",
    })
}

/// The answer to `/api/version`.
#[must_use]
pub fn version() -> Vec<u8> {
    bytes(&json!({ "version": API_VERSION }))
}

/// The answer to `/api/tags`: all models. `since` is a time of day (RFC 3339).
#[must_use]
pub fn tags<'a>(names: impl IntoIterator<Item = &'a str>, since: &str) -> Vec<u8> {
    let list: Vec<Value> = names
        .into_iter()
        .map(|name| {
            json!({
                "name": name, "model": name, "modified_at": since,
                "size": 0, "digest": "", "details": details(),
            })
        })
        .collect();
    bytes(&json!({ "models": list }))
}

/// The answer to `/api/ps`: models that are loaded.
#[must_use]
pub fn running<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let list: Vec<Value> = names
        .into_iter()
        .map(|name| {
            json!({
                "name": name, "model": name, "size": 0, "size_vram": 0,
                "digest": "", "details": details(), "expires_at": NEVER,
            })
        })
        .collect();
    bytes(&json!({ "models": list }))
}

/// The answer to `/api/show`.
#[must_use]
pub fn show(since: &str) -> Vec<u8> {
    bytes(&json!({
        "modelfile": "", "parameters": "", "template": "", "license": "",
        "details": details(),
        "model_info": {"general.architecture": "unknown"},
        "capabilities": ["completion", "tools"],
        "modified_at": since,
    }))
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
