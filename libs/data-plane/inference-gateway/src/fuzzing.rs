//! Entry points for the fuzz targets: the parsers of client requests and engine streams. Not a part
//! of the API.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderMap;

use crate::{model_name, peek, route, scan, sse::EventStream};

/// The fields of a body that routing needs: the model, and whether the client wants a stream.
pub type Fields<'a> = (Option<Cow<'a, str>>, Option<bool>);

fn fields(fields: scan::BodyFields<'_>) -> Fields<'_> {
    (fields.model, fields.stream)
}

/// Reads the fields of a JSON body.
///
/// # Errors
/// The message for the client.
pub fn peek(body: &[u8]) -> Result<Fields<'_>, String> {
    peek::peek(body)
        .map(fields)
        .map_err(|error| error.to_string())
}

/// The fast scanner of `peek`; `None` when it leaves the body to `parse`.
#[must_use]
pub fn scan(body: &str) -> Option<Fields<'_>> {
    scan::scan(body).map(fields)
}

/// The parser for bodies that the scanner does not accept.
#[must_use]
pub fn parse(body: &str) -> Option<Fields<'_>> {
    serde_json::from_str(body).ok().map(fields)
}

/// The model that a request names, in JSON or in a form.
///
/// # Errors
/// The message for the client.
pub fn named_model<'a>(
    headers: &HeaderMap,
    body: &'a [u8],
) -> Result<Option<Cow<'a, str>>, String> {
    model_name::named_model(headers, body).map_err(|error| error.to_string())
}

/// The body with `model` instead of the model that it names.
#[must_use]
pub fn with_model(headers: &HeaderMap, body: &[u8], model: &str) -> Option<Bytes> {
    model_name::with_model(headers, body, model)
}

/// Whether a client's request for `path` goes to an engine.
#[must_use]
pub fn is_forwarded(path: &str) -> bool {
    matches!(route::target(path), route::Target::Engine(_))
        || matches!(route::other(path), Ok(Some(_)))
}

/// An engine's stream on its way to the client.
#[derive(Debug)]
pub struct Stream(EventStream);

impl Stream {
    /// A stream in response to a request for `path`.
    #[must_use]
    pub fn of(path: &str) -> Self {
        Self(EventStream::new(route::dialect(path)))
    }

    /// Takes bytes from the engine and returns those for the client.
    pub fn push(&mut self, data: Bytes) -> Bytes {
        self.0.push(data)
    }

    /// Whether the stream may end here.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }

    /// Takes the bytes of an incomplete event.
    pub fn take_rest(&mut self) -> Bytes {
        self.0.take_rest()
    }
}
