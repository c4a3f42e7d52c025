//! Requests.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    error::RequestError,
    options::{add_format, add_options, add_thinking},
    tools::{Message, messages, with_images},
};

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `/api/chat`.
    Chat,
    /// `/api/generate`.
    Generate,
    /// `/api/generate` with a raw prompt.
    Raw,
    /// `/api/embed`.
    Embed,
    /// `/api/embeddings`, the older form.
    Embeddings,
}

/// A request in OpenAI's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAiRequest {
    /// What the answer is for.
    pub kind: Kind,
    /// The path.
    pub path: &'static str,
    /// The JSON body.
    pub body: Vec<u8>,
    /// The model, as the client names it.
    pub model: String,
    /// Whether the client wants a stream.
    pub is_streamed: bool,
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Translation {
    /// Send it to an engine.
    Forward(OpenAiRequest),
    /// Respond at once: the request only wants the model to be loaded.
    Loaded {
        /// What the answer is for.
        kind: Kind,
        /// The model, as the client names it.
        model: String,
    },
}

#[derive(Debug, Deserialize)]
struct Common {
    model: String,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    options: Option<Value>,
    #[serde(default)]
    format: Option<Value>,
    #[serde(default)]
    think: Option<Value>,
}

impl Common {
    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("model".to_owned(), self.model.as_str().into());
        add_options(&mut body, self.options.as_ref());
        add_format(&mut body, self.format.as_ref());
        add_thinking(&mut body, self.think.as_ref());
        if self.is_streamed() {
            body.insert("stream".to_owned(), true.into());
            let usage = json!({"include_usage": true});
            body.insert("stream_options".to_owned(), usage);
        }
        body
    }

    fn is_streamed(&self) -> bool {
        self.stream.unwrap_or(true)
    }

    fn forward(self, kind: Kind, path: &'static str, body: Map<String, Value>) -> Translation {
        Translation::Forward(OpenAiRequest {
            kind,
            path,
            body: Value::from(body).to_string().into_bytes(),
            is_streamed: self.is_streamed(),
            model: self.model,
        })
    }
}

const CHAT: &str = "/v1/chat/completions";

#[derive(Debug, Deserialize)]
struct ChatRequest {
    #[serde(flatten)]
    common: Common,
    #[serde(default)]
    messages: Option<Vec<Message>>,
    #[serde(default)]
    tools: Option<Value>,
}

/// Translates a request for `/api/chat`.
///
/// # Errors
/// When it is not valid.
pub fn chat_request(body: &[u8]) -> Result<Translation, RequestError> {
    let request: ChatRequest = serde_json::from_slice(body)?;
    let list = request.messages.unwrap_or_default();
    if list.is_empty() {
        return Ok(Translation::Loaded {
            kind: Kind::Chat,
            model: request.common.model,
        });
    }
    let mut body = request.common.body();
    body.insert("messages".to_owned(), messages(list)?.into());
    let tools = request
        .tools
        .filter(|tools| tools.as_array().is_some_and(|tools| !tools.is_empty()));
    if let Some(tools) = tools {
        body.insert("tools".to_owned(), tools);
    }
    Ok(request.common.forward(Kind::Chat, CHAT, body))
}

#[derive(Debug, Deserialize)]
struct GenerateRequest {
    #[serde(flatten)]
    common: Common,
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    system: Option<String>,
    #[serde(default)]
    suffix: Option<String>,
    #[serde(default)]
    template: Option<String>,
    #[serde(default)]
    raw: Option<bool>,
    #[serde(default)]
    images: Option<Vec<String>>,
}

/// Translates a request for `/api/generate`.
///
/// # Errors
/// When it is not valid, or needs what only Ollama has.
pub fn generate_request(body: &[u8]) -> Result<Translation, RequestError> {
    let request: GenerateRequest = serde_json::from_slice(body)?;
    let is_set = |field: &Option<String>| field.as_ref().is_some_and(|text| !text.is_empty());
    if is_set(&request.suffix) {
        return Err(RequestError::Unsupported {
            field: "suffix",
            instead: "use the engine's own route, such as /infill",
        });
    }
    if is_set(&request.template) {
        return Err(RequestError::Unsupported {
            field: "template",
            instead: "send `raw` with a whole prompt",
        });
    }
    let mut body = request.common.body();
    let Some(prompt) = request.prompt.filter(|prompt| !prompt.is_empty()) else {
        return Ok(Translation::Loaded {
            kind: Kind::Generate,
            model: request.common.model,
        });
    };
    if request.raw == Some(true) {
        body.insert("prompt".to_owned(), prompt.into());
        return Ok(request.common.forward(Kind::Raw, "/v1/completions", body));
    }
    let system = request.system.filter(|system| !system.is_empty());
    let mut list: Vec<Value> = system
        .map(|system| json!({"role": "system", "content": system}))
        .into_iter()
        .collect();
    let content = with_images(prompt, &request.images.unwrap_or_default())?;
    list.push(json!({"role": "user", "content": content}));
    body.insert("messages".to_owned(), list.into());
    Ok(request.common.forward(Kind::Generate, CHAT, body))
}

#[derive(Debug, Deserialize)]
struct EmbedRequest {
    model: String,
    #[serde(default)]
    input: Option<Value>,
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    dimensions: Option<u64>,
}

/// Translates a request for `/api/embed`, or for the older `/api/embeddings`.
///
/// # Errors
/// When it is not valid.
pub fn embed_request(body: &[u8], kind: Kind) -> Result<Translation, RequestError> {
    let request: EmbedRequest = serde_json::from_slice(body)?;
    let input = match kind {
        Kind::Embeddings => request.prompt.map(Value::from),
        _ => request.input,
    };
    let input = input.filter(|input| match input {
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    });
    let Some(input) = input else {
        return Ok(Translation::Loaded {
            kind,
            model: request.model,
        });
    };
    let mut body = json!({"model": request.model, "input": input});
    if let (Some(dimensions), Some(body)) = (request.dimensions, body.as_object_mut()) {
        body.insert("dimensions".to_owned(), dimensions.into());
    }
    Ok(Translation::Forward(OpenAiRequest {
        kind,
        path: "/v1/embeddings",
        body: body.to_string().into_bytes(),
        model: request.model,
        is_streamed: false,
    }))
}

#[cfg(test)]
mod tests;
