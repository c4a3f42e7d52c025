//! OpenAI's responses, which an engine stores in its memory.

use std::{
    collections::BTreeMap,
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    answer::{STREAM_END, STREAM_HEAD, error, named_chunk, response},
    script::Script,
};

/// Numbers the responses of all engines of this process: no two have one id.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The path of all responses.
pub(crate) const PATH: &str = "/v1/responses";

/// The responses that one engine has stored.
#[derive(Debug, Default)]
pub(crate) struct Responses(Mutex<BTreeMap<String, Value>>);

impl Responses {
    /// Answers `POST /v1/responses` with so many tokens. A response that continues another one needs
    /// that one.
    pub(crate) fn create(&self, script: &Script, body: &[u8], text: &str, tokens: u32) -> Vec<u8> {
        let Ok(asked) = serde_json::from_slice::<Value>(body) else {
            return error(400, "the body is not a JSON object");
        };
        let previous = &asked["previous_response_id"];
        if let Some(id) = previous.as_str()
            && !self.0.lock().contains_key(id)
        {
            return not_found(id);
        }
        let id = format!(
            "resp_{}_{}",
            process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let part = json!({"type": "output_text", "text": text, "annotations": []});
        let message = json!({
            "id": "msg_fake", "type": "message", "role": "assistant", "status": "completed",
            "content": [part],
        });
        let whole = json!({
            "id": id, "object": "response", "created_at": 0, "status": "completed",
            "model": script.models.first(), "previous_response_id": previous,
            "input": asked["input"], "output": [message],
            "usage": {"input_tokens": 1, "output_tokens": tokens, "total_tokens": tokens + 1},
        });
        self.0.lock().insert(id, whole.clone());
        if asked["stream"] == true {
            stream(&whole, text)
        } else {
            response(200, &whole)
        }
    }

    /// Answers a request for the response that is named in `path`.
    pub(crate) fn stored(&self, method: &str, path: &str) -> Vec<u8> {
        let rest = path.strip_prefix(PATH).unwrap_or_default();
        let mut parts = rest.trim_start_matches('/').split('/');
        let (id, end) = (parts.next().unwrap_or_default(), parts.next());
        let mut stored = self.0.lock();
        let Some(whole) = stored.get(id).cloned() else {
            return not_found(id);
        };
        match (method, end) {
            ("GET", None) | ("POST", Some("cancel")) => response(200, &whole),
            ("GET", Some("input_items")) => {
                let item = json!({"type": "message", "role": "user", "content": whole["input"]});
                response(
                    200,
                    &json!({"object": "list", "data": [item], "has_more": false}),
                )
            }
            ("DELETE", None) => {
                stored.remove(id);
                response(
                    200,
                    &json!({"id": id, "object": "response", "deleted": true}),
                )
            }
            _ => error(404, "File Not Found"),
        }
    }
}

fn not_found(id: &str) -> Vec<u8> {
    error(404, &format!("Response with id '{id}' not found."))
}

/// A stream of the response: created, one delta, completed.
fn stream(whole: &Value, text: &str) -> Vec<u8> {
    let events = [
        json!({"type": "response.created", "response": whole}),
        json!({"type": "response.output_text.delta", "item_id": "msg_fake", "delta": text}),
        json!({"type": "response.completed", "response": whole}),
    ];
    let mut bytes = STREAM_HEAD.to_vec();
    for event in events {
        let name = event["type"].as_str().unwrap_or_default();
        bytes.extend(named_chunk(name, &event.to_string()));
    }
    bytes.extend_from_slice(STREAM_END);
    bytes
}
