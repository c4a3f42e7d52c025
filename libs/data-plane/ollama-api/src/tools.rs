//! Messages: their images and tool calls.
//!
//! Ollama's tool calls have no ids, and their arguments are objects. OpenAI's have both an id and
//! arguments as text. Ids are numbered in the order of the calls, and results take them in the same
//! order, as Ollama does.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::RequestError;

#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    pub(crate) role: String,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    images: Option<Vec<String>>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCall>>,
    #[serde(default)]
    tool_call_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ToolCall {
    #[serde(default)]
    id: Option<String>,
    function: Function,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    arguments: Value,
}

/// The messages in OpenAI's form.
pub(crate) fn messages(messages: Vec<Message>) -> Result<Vec<Value>, RequestError> {
    let (mut calls, mut results) = (0_u64, 0_u64);
    messages
        .into_iter()
        .map(|message| translated(message, &mut calls, &mut results))
        .collect()
}

fn translated(message: Message, calls: &mut u64, results: &mut u64) -> Result<Value, RequestError> {
    let Message {
        role,
        content,
        thinking,
        images,
        tool_calls,
        tool_call_id,
    } = message;
    let mut out = Map::new();
    if role == "tool" {
        let id = tool_call_id.unwrap_or_else(|| numbered(results));
        out.insert("tool_call_id".to_owned(), id.into());
    }
    out.insert("role".to_owned(), role.into());
    let images = images.unwrap_or_default();
    let text = content.unwrap_or_default();
    out.insert("content".to_owned(), with_images(text, &images)?);
    if let Some(thinking) = thinking {
        out.insert("reasoning_content".to_owned(), thinking.into());
    }
    let tool_calls: Vec<Value> = tool_calls
        .unwrap_or_default()
        .into_iter()
        .map(|call| {
            let id = call.id.unwrap_or_else(|| numbered(calls));
            let arguments = match call.function.arguments {
                Value::String(text) => text,
                object => object.to_string(),
            };
            let function = json!({"name": call.function.name, "arguments": arguments});
            json!({"id": id, "type": "function", "function": function})
        })
        .collect();
    if !tool_calls.is_empty() {
        out.insert("tool_calls".to_owned(), tool_calls.into());
    }
    Ok(out.into())
}

fn numbered(count: &mut u64) -> String {
    let id = format!("call_{count}");
    *count = count.saturating_add(1);
    id
}

/// The content of a message: a text, or parts when there are images.
pub(crate) fn with_images(text: String, images: &[String]) -> Result<Value, RequestError> {
    if images.is_empty() {
        return Ok(text.into());
    }
    let mut parts = vec![json!({"type": "text", "text": text})];
    for image in images {
        let url = if image.starts_with("data:") {
            image.clone()
        } else {
            format!("data:{};base64,{image}", media_type(image)?)
        };
        parts.push(json!({"type": "image_url", "image_url": {"url": url}}));
    }
    Ok(parts.into())
}

/// The media type of an image, by the first characters of its base64.
fn media_type(image: &str) -> Result<&'static str, RequestError> {
    let known = [
        ("iVBORw0KGgo", "image/png"),
        ("/9j/", "image/jpeg"),
        ("R0lGOD", "image/gif"),
        ("UklGR", "image/webp"),
    ];
    let found = known.iter().find(|(start, _)| image.starts_with(start));
    found.map(|(_, kind)| *kind).ok_or_else(|| {
        RequestError::Invalid("`images` must be PNG, JPEG, GIF or WebP in base64".to_owned())
    })
}

/// A tool call that arrives in pieces.
#[derive(Debug, Default)]
pub(crate) struct CallInPieces {
    id: String,
    name: String,
    arguments: String,
}

impl CallInPieces {
    /// Takes a piece of OpenAI's form.
    pub(crate) fn add(&mut self, piece: &Value) {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        if let Some(id) = text(piece.get("id")) {
            self.id = id;
        }
        let function = piece.get("function");
        let field = |name| text(function.and_then(|function| function.get(name)));
        self.name.push_str(&field("name").unwrap_or_default());
        self.arguments
            .push_str(&field("arguments").unwrap_or_default());
    }

    /// The bytes that are held.
    pub(crate) fn len(&self) -> usize {
        let sum = self.name.len().saturating_add(self.arguments.len());
        sum.saturating_add(self.id.len())
    }

    /// The call in Ollama's form.
    pub(crate) fn finish(self) -> Value {
        let arguments: Value = serde_json::from_str(&self.arguments).unwrap_or_else(|_| json!({}));
        json!({"id": self.id, "function": {"name": self.name, "arguments": arguments}})
    }
}
