//! The bytes of answers. Everything that does not depend on the request is made once, when the
//! script is set.

use serde_json::{Value, json};

use crate::{script::Script, stats::Stats};

/// What the fake says, one word a token, in this order and round again; a chat of the real tiny
/// model begins likewise.
const WORDS: [&str; 20] = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];

/// What the fake makes of every input.
const EMBEDDING: [f32; 8] = [0.5, -0.5, 0.25, -0.25, 0.125, -0.125, 0.0, 1.0];

/// The head of every stream.
pub(crate) const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
/// The last chunk of every stream.
pub(crate) const STREAM_END: &[u8] = b"0\r\n\r\n";

/// Which of the two text interfaces is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Chat,
    Completion,
}

/// The chunks of a stream, as they go over the wire.
#[derive(Debug)]
pub(crate) struct Frames {
    /// The role, in a chat.
    pub(crate) first: Vec<u8>,
    words: Vec<Vec<u8>>,
    /// The finish reason.
    pub(crate) last: Vec<u8>,
    /// `[DONE]`.
    pub(crate) done: Vec<u8>,
}

impl Frames {
    /// The chunk of the n-th token.
    pub(crate) fn word(&self, n: u32) -> &[u8] {
        let index = n as usize % WORDS.len();
        self.words.get(index).map(Vec::as_slice).unwrap_or_default()
    }
}

/// A script with the bytes it leads to.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) script: Script,
    pub(crate) chat: Frames,
    pub(crate) completion: Frames,
}

impl Prepared {
    pub(crate) fn new(script: Script) -> Self {
        let model = model(&script);
        Self {
            chat: frames(
                &event(
                    model,
                    Api::Chat,
                    &json!({"delta": {"role": "assistant", "content": null}}),
                    None,
                ),
                |word| event(model, Api::Chat, &json!({"delta": {"content": word}}), None),
                &event(model, Api::Chat, &json!({"delta": {}}), Some("length")),
            ),
            completion: frames(
                "",
                |word| event(model, Api::Completion, &json!({"text": word}), None),
                &event(model, Api::Completion, &json!({"text": ""}), Some("length")),
            ),
            script,
        }
    }

    pub(crate) fn frames(&self, api: Api) -> &Frames {
        match api {
            Api::Chat => &self.chat,
            Api::Completion => &self.completion,
        }
    }

    /// The chunk that tells the usage, when the client asked for it.
    pub(crate) fn usage_frame(&self, tokens: u32) -> Vec<u8> {
        let event = json!({
            "id": "fake", "object": "chat.completion.chunk", "created": 0,
             "model": model(&self.script),
            "choices": [], "usage": usage(tokens),
        });
        chunk(&event.to_string())
    }

    /// A complete unstreamed answer.
    pub(crate) fn whole(&self, api: Api, tokens: u32) -> Vec<u8> {
        let text = text(tokens);
        let (object, content) = match api {
            Api::Chat => (
                "chat.completion",
                json!({"message": {"role": "assistant", "content": text}}),
            ),
            Api::Completion => ("text_completion", json!({"text": text})),
        };
        let body = json!({
            "id": "fake", "object": object, "created": 0, "model": model(&self.script),
            "choices": [choice(&content, Some("length"))], "usage": usage(tokens),
        });
        response(200, &body)
    }

    /// An embedding of 8 numbers for each input.
    pub(crate) fn embeddings(&self, body: &[u8]) -> Vec<u8> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let inputs = body["input"].as_array().map_or(1, Vec::len);
        let data: Vec<Value> = (0..inputs)
            .map(|index| json!({"object": "embedding", "index": index, "embedding": EMBEDDING}))
            .collect();
        let usage = json!({"prompt_tokens": inputs, "total_tokens": inputs});
        response(
            200,
            &json!({"object": "list", "model": model(&self.script), "data": data, "usage": usage}),
        )
    }

    /// The answer to a question about the engine itself; `None` for an unknown path.
    pub(crate) fn state(&self, path: &str, stats: &Stats) -> Option<Vec<u8>> {
        let slots = self.script.slots;
        let body = match path {
            "/health" | "/v1/health" if self.script.health == 200 => json!({"status": "ok"}),
            "/health" | "/v1/health" => return Some(error(self.script.health, "Loading model")),
            "/v1/models" | "/models" => {
                let list: Vec<Value> = self
                    .script
                    .models
                    .iter()
                    .map(|id| json!({"id": id, "object": "model"}))
                    .collect();
                json!({"object": "list", "data": list})
            }
            "/slots" => (0..slots)
                .map(|id| json!({"id": id, "is_processing": id < stats.running}))
                .collect(),
            "/props" => {
                json!({"total_slots": slots, "model_alias": model(&self.script),
                 "build_info": "fake"})
            }
            "/metrics" => return Some(metrics(stats)),
            _ => return None,
        };
        Some(response(200, &body))
    }
}

/// An error in OpenAI's shape.
pub(crate) fn error(status: u16, message: &str) -> Vec<u8> {
    response(
        status,
        &json!({"error": {"message": message, "type": "fake", "code": status}}),
    )
}

/// An error page.
pub(crate) fn page(status: u16) -> Vec<u8> {
    with_head(status, "text/html", b"<html><h1>Bad Gateway</h1></html>")
}

/// A refusal, maybe with `Retry-After` in seconds.
pub(crate) fn refusal(status: u16, retry_after: Option<u32>) -> Vec<u8> {
    let mut answer = error(status, "refused by script");
    if let Some(seconds) = retry_after {
        let field = format!("retry-after: {seconds}\r\n");
        // Behind the status line.
        let line = answer
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        answer.splice(line..line, field.into_bytes());
    }
    answer
}

fn model(script: &Script) -> &str {
    script.models.first().map_or("tiny", String::as_str)
}

/// The text of so many tokens.
pub(crate) fn text(tokens: u32) -> String {
    (0..tokens as usize).map(spoken).collect()
}

fn spoken(n: usize) -> String {
    format!(
        " {}",
        WORDS.get(n % WORDS.len()).copied().unwrap_or_default()
    )
}

fn usage(tokens: u32) -> Value {
    json!({"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1})
}

fn choice(content: &Value, finish_reason: Option<&str>) -> Value {
    let mut choice = json!({"index": 0, "finish_reason": finish_reason});
    if let (Some(choice), Some(content)) = (choice.as_object_mut(), content.as_object()) {
        choice.extend(content.clone());
    }
    choice
}

fn event(model: &str, api: Api, content: &Value, finish_reason: Option<&str>) -> String {
    let object = match api {
        Api::Chat => "chat.completion.chunk",
        Api::Completion => "text_completion",
    };
    json!({
        "id": "fake", "object": object, "created": 0, "model": model,
        "choices": [choice(content, finish_reason)],
    })
    .to_string()
}

fn frames(first: &str, word: impl Fn(&str) -> String, last: &str) -> Frames {
    Frames {
        first: if first.is_empty() {
            Vec::new()
        } else {
            chunk(first)
        },
        words: (0..WORDS.len()).map(|n| chunk(&word(&spoken(n)))).collect(),
        last: chunk(last),
        done: chunk("[DONE]"),
    }
}

/// An SSE event in an HTTP chunk.
pub(crate) fn chunk(data: &str) -> Vec<u8> {
    http_chunk(&format!("data: {data}\n\n"))
}

/// An SSE event with a name in an HTTP chunk.
pub(crate) fn named_chunk(name: &str, data: &str) -> Vec<u8> {
    http_chunk(&format!("event: {name}\ndata: {data}\n\n"))
}

fn http_chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

fn metrics(stats: &Stats) -> Vec<u8> {
    let body = format!(
        "# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing {}\n\
         # TYPE llamacpp:requests_deferred gauge\nllamacpp:requests_deferred 0\n",
        stats.running
    );
    with_head(200, "text/plain; version=0.0.4", body.as_bytes())
}

pub(crate) fn response(status: u16, body: &Value) -> Vec<u8> {
    with_head(
        status,
        "application/json; charset=utf-8",
        body.to_string().as_bytes(),
    )
}

fn with_head(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    // The reason phrase may be empty; the space before it is mandatory.
    let mut bytes = format!(
        "HTTP/1.1 {status} \r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
