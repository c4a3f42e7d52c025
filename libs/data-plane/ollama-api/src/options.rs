//! Sampling options, formats and thinking.

use serde_json::{Map, Value, json};

/// Ollama's name of an option, and the names that engines know it by.
const OPTIONS: [(&str, &[&str]); 10] = [
    ("temperature", &["temperature"]),
    ("top_p", &["top_p"]),
    ("top_k", &["top_k"]),
    ("min_p", &["min_p"]),
    ("typical_p", &["typical_p"]),
    ("seed", &["seed"]),
    ("stop", &["stop"]),
    ("presence_penalty", &["presence_penalty"]),
    ("frequency_penalty", &["frequency_penalty"]),
    // llama.cpp's name, and vLLM's.
    ("repeat_penalty", &["repeat_penalty", "repetition_penalty"]),
];

/// Adds the options that engines have. Those of Ollama's memory (`num_ctx`, `num_gpu`, …) are the
/// operator's to choose.
pub(crate) fn add_options(body: &mut Map<String, Value>, options: Option<&Value>) {
    let Some(options) = options.and_then(Value::as_object) else {
        return;
    };
    for (name, names) in OPTIONS {
        if let Some(value) = options.get(name).filter(|value| !value.is_null()) {
            for name in names {
                body.insert((*name).to_owned(), value.clone());
            }
        }
    }
    // Negative: until the model stops.
    let limit = options.get("num_predict").and_then(Value::as_u64);
    if let Some(limit) = limit {
        body.insert("max_tokens".to_owned(), limit.into());
    }
}

/// Adds the format of the answer: `json`, or a schema.
pub(crate) fn add_format(body: &mut Map<String, Value>, format: Option<&Value>) {
    let format = match format {
        Some(Value::String(name)) if name == "json" => json!({"type": "json_object"}),
        Some(schema @ Value::Object(_)) => json!({
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": true, "schema": schema},
        }),
        _ => return,
    };
    body.insert("response_format".to_owned(), format);
}

/// Adds whether, or how much, the model thinks.
pub(crate) fn add_thinking(body: &mut Map<String, Value>, think: Option<&Value>) {
    match think {
        Some(Value::Bool(think)) => {
            let kwargs = json!({ "enable_thinking": think });
            body.insert("chat_template_kwargs".to_owned(), kwargs);
        }
        Some(Value::String(effort)) => {
            body.insert("reasoning_effort".to_owned(), effort.as_str().into());
        }
        _ => {}
    }
}
