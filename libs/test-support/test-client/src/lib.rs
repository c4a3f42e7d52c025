//! A blocking HTTP client for tests and demos: JSON, and streams with the time of each event.

use std::{
    io::{BufRead, BufReader},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use ureq::{Agent, Body, BodyReader, http::HeaderMap, http::Response};

use test_clock::now;

/// The timeout of a request.
const DEADLINE: Duration = Duration::from_secs(300);

/// A client of one server. Each request has its own connection, so that a restart of the server has
/// no effect on it.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    headers: Vec<(String, String)>,
}

/// An answer read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {}", self.body))
    }

    /// A header field; empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        text_of(&self.headers, name)
    }

    /// The answer's text: of a chat or of a completion.
    ///
    /// # Errors
    /// When the status is not 200 or there is no text.
    pub fn text(&self) -> Result<String> {
        ensure!(self.status == 200, "status {}: {}", self.status, self.body);
        let body = self.json()?;
        let choice = &body["choices"][0];
        let text = choice["message"]["content"]
            .as_str()
            .or_else(|| choice["text"].as_str());
        text.map(str::to_owned)
            .with_context(|| format!("no text in {body}"))
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

impl Client {
    /// A client of the server at `base`, such as `http://127.0.0.1:8080`.
    #[must_use]
    pub fn new(base: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_idle_connections(0)
            .timeout_global(Some(DEADLINE))
            .build();
        Self::with_agent(base, config.new_agent())
    }

    /// A client that sends its requests by `agent`, for example over TLS.
    #[must_use]
    pub fn with_agent(base: &str, agent: Agent) -> Self {
        Self {
            agent,
            base: base.to_owned(),
            headers: Vec::new(),
        }
    }

    /// This client with a header field on each request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// This client with a bearer token.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.with_header("authorization", &format!("Bearer {token}"))
    }

    /// GET.
    ///
    /// # Errors
    /// When no complete response arrives.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.read(self.request("GET", path, None)?)
    }

    /// GET of JSON.
    ///
    /// # Errors
    /// When the status is not 200 or the body is not JSON.
    pub fn get_json(&self, path: &str) -> Result<Value> {
        let answer = self.get(path)?;
        ensure!(
            answer.status == 200,
            "GET {path}: status {}: {}",
            answer.status,
            answer.body
        );
        answer.json()
    }

    /// POST of JSON.
    ///
    /// # Errors
    /// When no complete response arrives.
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.read(self.request("POST", path, Some(body))?)
    }

    /// PATCH with JSON.
    ///
    /// # Errors
    /// When no complete response arrives.
    pub fn patch(&self, path: &str, body: &Value) -> Result<Answer> {
        self.read(self.request("PATCH", path, Some(body))?)
    }

    /// DELETE.
    ///
    /// # Errors
    /// When no complete response arrives.
    pub fn delete(&self, path: &str) -> Result<Answer> {
        self.read(self.request("DELETE", path, None)?)
    }

    /// Sends a chat to the model "tiny", with a limit on the answer in tokens.
    ///
    /// # Errors
    /// When no complete response arrives.
    pub fn chat(&self, max_tokens: u32) -> Result<Answer> {
        self.post("/v1/chat/completions", &chat_body(max_tokens, false))
    }

    /// The same, streamed.
    ///
    /// # Errors
    /// When no response begins.
    pub fn chat_stream(&self, max_tokens: u32) -> Result<Stream> {
        self.stream("/v1/chat/completions", &chat_body(max_tokens, true))
    }

    /// POST of JSON with a streamed answer.
    ///
    /// # Errors
    /// When no response begins.
    pub fn stream(&self, path: &str, body: &Value) -> Result<Stream> {
        self.begin_stream("POST", path, Some(body))
    }

    /// GET of server-sent events.
    ///
    /// # Errors
    /// When no response begins.
    pub fn follow(&self, path: &str) -> Result<Stream> {
        let client = self.clone().with_header("accept", "text/event-stream");
        client.begin_stream("GET", path, None)
    }

    fn begin_stream(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Stream> {
        let sent = now();
        let response = self.request(method, path, body)?;
        let (head, body) = response.into_parts();
        Ok(Stream {
            status: head.status.as_u16(),
            headers: head.headers,
            sent,
            body: BufReader::new(body.into_reader()),
            parser: sse::Parser::new(EVENT_BYTES),
        })
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Response<Body>> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = match body {
            Some(body) => {
                let request = request
                    .header("content-type", "application/json")
                    .body(body.to_string())?;
                self.agent.run(request)
            }
            None => self.agent.run(request.body(())?),
        };
        answer.with_context(|| format!("{method} {}{path}", self.base))
    }

    fn read(&self, response: Response<Body>) -> Result<Answer> {
        let (head, mut body) = response.into_parts();
        let body = body
            .read_to_string()
            .with_context(|| format!("an answer of {} breaks off", self.base))?;
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }
}

/// A chat with one short message, at temperature 0.
#[must_use]
pub fn chat_body(max_tokens: u32, stream: bool) -> Value {
    json!({
        "model": "tiny",
        "messages": [{"role": "user", "content": "count"}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": stream,
    })
}

/// An event of a stream.
#[derive(Debug, Clone)]
pub struct Event {
    /// The time since the request was sent.
    pub at: Duration,
    /// The data.
    pub data: String,
}

impl Event {
    /// The text in it; empty when there is none.
    #[must_use]
    pub fn text(&self) -> String {
        let Ok(data) = serde_json::from_str::<Value>(&self.data) else {
            return String::new();
        };
        let choice = &data["choices"][0];
        let text = choice["delta"]["content"]
            .as_str()
            .or_else(|| choice["text"].as_str());
        text.unwrap_or_default().to_owned()
    }

    /// The code of an error event.
    #[must_use]
    pub fn error_code(&self) -> Option<String> {
        let data = serde_json::from_str::<Value>(&self.data).ok()?;
        let error = data.get("error")?;
        Some(
            error["code"]
                .as_str()
                .map_or_else(|| error["code"].to_string(), str::to_owned),
        )
    }
}

/// The longest event of a test.
const EVENT_BYTES: usize = 8 * 1024 * 1024;

/// A response that is not complete yet. Dropping it closes the connection.
pub struct Stream {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    sent: Instant,
    body: BufReader<BodyReader<'static>>,
    parser: sse::Parser,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With `[DONE]`.
    Done,
    /// With an error event with this code.
    Error(String),
    /// The connection ended or broke without an error event, for this reason.
    Silent(String),
}

/// A stream read to its end.
#[derive(Debug, Clone)]
pub struct Streamed {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// All events but `[DONE]`.
    pub events: Vec<Event>,
    /// How it ended.
    pub end: End,
}

impl Streamed {
    /// The text of all events.
    #[must_use]
    pub fn text(&self) -> String {
        self.events.iter().map(Event::text).collect()
    }

    /// A header field; empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        text_of(&self.headers, name)
    }
}

impl Stream {
    /// A header field; empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        text_of(&self.headers, name)
    }

    /// The next event, `[DONE]` included; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        loop {
            let piece = self.body.fill_buf().context("the stream breaks off")?;
            if piece.is_empty() {
                return Ok(None);
            }
            let mut rest = piece;
            let event = self.parser.next_event(&mut rest)?;
            let event = event.map(|event| Event {
                at: self.sent.elapsed(),
                data: event.data_text().trim().to_owned(),
            });
            let read = piece.len() - rest.len();
            self.body.consume(read);
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// The next event that carries text.
    ///
    /// # Errors
    /// When the stream ends first.
    pub fn next_text(&mut self) -> Result<Event> {
        loop {
            match self.next_event()? {
                Some(event) if !event.text().is_empty() => return Ok(event),
                Some(_) => {}
                None => bail!("the stream ended before there was text"),
            }
        }
    }

    /// Reads to the end, however it ends.
    #[must_use]
    pub fn finish(mut self) -> Streamed {
        let mut events: Vec<Event> = Vec::new();
        let end = loop {
            match self.next_event() {
                Ok(Some(event)) if event.data == "[DONE]" => break End::Done,
                Ok(Some(event)) => events.push(event),
                Ok(None) => break End::Silent("the connection was closed".to_owned()),
                Err(error) => break End::Silent(format!("{error:#}")),
            }
        };
        let end = match (events.last().and_then(Event::error_code), end) {
            (Some(code), End::Silent(_)) => End::Error(code),
            (_, end) => end,
        };
        Streamed {
            status: self.status,
            headers: self.headers,
            events,
            end,
        }
    }
}

/// The tiny model's answer to a chat: this number of words from "one" on, each after a space.
#[must_use]
pub fn chain(words: usize) -> String {
    tiny_model::WORDS
        .iter()
        .cycle()
        .skip(1)
        .take(words)
        .map(|word| format!(" {word}"))
        .collect()
}
