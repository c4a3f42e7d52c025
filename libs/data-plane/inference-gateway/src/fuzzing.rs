//! Entry points for the fuzz targets: what reads a client's request and an engine's stream, as this
//! crate uses it. Not a part of the API.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderMap;

use crate::{dialect::Dialect, named, peek, route, scan, sse::EventStream};

/// What routing reads of a body: the model, and whether the answer is to be streamed.
pub type Fields<'a> = (Option<Cow<'a, str>>, Option<bool>);

fn fields(peek: peek::Peek<'_>) -> Fields<'_> {
    (peek.model, peek.stream)
}

/// Peeks at a JSON body.
///
/// # Errors
/// What the client is told.
pub fn peek(body: &[u8]) -> Result<Fields<'_>, String> {
    peek::peek(body)
        .map(fields)
        .map_err(|error| error.to_string())
}

/// The quick look of `peek`; `None` when it leaves the body to `parse`.
#[must_use]
pub fn scan(body: &str) -> Option<Fields<'_>> {
    scan::scan(body).map(fields)
}

/// The parser that has the last word.
#[must_use]
pub fn parse(body: &str) -> Option<Fields<'_>> {
    serde_json::from_str(body).ok().map(fields)
}

/// The model a request names, in JSON or in a form.
///
/// # Errors
/// What the client is told.
pub fn named_model<'a>(
    headers: &HeaderMap,
    body: &'a [u8],
) -> Result<Option<Cow<'a, str>>, String> {
    named::named_model(headers, body).map_err(|error| error.to_string())
}

/// The body with `model` in place of the one it names.
#[must_use]
pub fn with_model(headers: &HeaderMap, body: &[u8], model: &str) -> Option<Bytes> {
    named::with_model(headers, body, model)
}

/// Whether a client's request for `path` goes to an engine.
#[must_use]
pub fn is_forwarded(path: &str) -> bool {
    route::is_ours(path)
        && (route::find(path).is_some() || matches!(route::other(path), Ok(Some(_))))
}

/// An engine's stream on its way to the client.
#[derive(Debug)]
pub struct Stream(EventStream);

impl Stream {
    /// A stream that answers a request for `path`.
    #[must_use]
    pub fn of(path: &str) -> Self {
        Self(EventStream::new(
            route::find(path).map_or(Dialect::Plain, |route| route.dialect),
        ))
    }

    /// Takes what came and gives back what goes on; `None` when an event is too long.
    pub fn push(&mut self, data: Bytes) -> Option<Bytes> {
        self.0.push(data).ok()
    }

    /// Whether the stream may end here.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }

    /// What waits for its rest.
    pub fn take_rest(&mut self) -> Bytes {
        self.0.take_rest()
    }
}
