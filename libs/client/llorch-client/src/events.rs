//! An event stream that is still coming.

use std::{
    fmt,
    io::{BufRead as _, BufReader, ErrorKind},
};

use sse::Parser;
use ureq::{Body, BodyReader};

use crate::{ClientError, SseEvent, error::echo};

/// The longest line, and the most data of an event: an embedding of many dimensions is some hundred
/// KiB.
const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// The events of an answer. Dropping it closes the connection.
pub struct Events {
    url: String,
    body: BufReader<BodyReader<'static>>,
    parser: Parser,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Events {
    pub(crate) fn new(url: String, body: Body) -> Self {
        Self {
            url,
            body: BufReader::new(body.into_reader()),
            parser: Parser::new(MAX_EVENT_BYTES),
        }
    }

    /// The next event; `None` when the stream has ended.
    ///
    /// # Errors
    /// When the connection breaks, or an event is too long.
    pub fn next_event(&mut self) -> Result<Option<SseEvent>, ClientError> {
        loop {
            let piece = match self.body.fill_buf() {
                Ok(piece) => piece,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.broken(&error.to_string())),
            };
            if piece.is_empty() {
                return Ok(None);
            }
            let mut rest = piece;
            let event = self.parser.next_event(&mut rest);
            let event = event.map(|event| event.map(SseEvent::from));
            let read = piece.len() - rest.len();
            self.body.consume(read);
            match event {
                Ok(Some(event)) => return Ok(Some(event)),
                Ok(None) => {}
                Err(error) => return Err(self.broken(&error.to_string())),
            }
        }
    }

    pub(crate) fn broken(&self, reason: &str) -> ClientError {
        ClientError::BrokenOff {
            url: self.url.clone(),
            reason: echo(reason),
        }
    }
}
