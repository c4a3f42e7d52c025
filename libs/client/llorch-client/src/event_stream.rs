//! Server-sent events of an open response.

use std::{
    fmt,
    io::{BufRead as _, BufReader, ErrorKind},
};

use sse::Parser;
use ureq::{Body, BodyReader};

use crate::error::{ClientError, shortened};

/// The limit on one event. An embedding of many dimensions has some hundred KiB.
const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// A server-sent event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerEvent {
    /// The last event id of the stream: of this event or an earlier one.
    pub id: Option<String>,
    /// The type; empty when the event has none.
    pub event: String,
    /// The data; several lines are joined by newlines.
    pub data: String,
}

/// The events of a response. Dropping it closes the connection.
pub(crate) struct EventStream {
    url: String,
    body: BufReader<BodyReader<'static>>,
    parser: Parser,
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl EventStream {
    pub(crate) fn new(url: String, body: Body) -> Self {
        Self {
            url,
            body: BufReader::new(body.into_reader()),
            parser: Parser::new(MAX_EVENT_BYTES),
        }
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) fn next_event(&mut self) -> Result<Option<ServerEvent>, ClientError> {
        loop {
            let buffer = match self.body.fill_buf() {
                Ok(buffer) => buffer,
                // A signal, which says nothing about the connection.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(interrupted(&self.url, &error.to_string())),
            };
            if buffer.is_empty() {
                return Ok(None);
            }
            let mut rest = buffer;
            let event = self
                .parser
                .next_event(&mut rest)
                .map_err(|error| interrupted(&self.url, &error.to_string()))?
                .map(|event| ServerEvent {
                    id: event.id.map(str::to_owned),
                    event: event.name.to_owned(),
                    data: event.data_text().into_owned(),
                });
            let read = buffer.len() - rest.len();
            self.body.consume(read);
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    pub(crate) fn interrupted(&self, reason: &str) -> ClientError {
        interrupted(&self.url, reason)
    }
}

fn interrupted(url: &str, reason: &str) -> ClientError {
    ClientError::Interrupted {
        url: url.to_owned(),
        reason: shortened(reason),
    }
}
