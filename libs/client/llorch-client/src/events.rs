//! An event stream that is still coming.

use std::{
    fmt,
    io::{BufRead as _, BufReader, Read as _},
};

use ureq::{Body, BodyReader};

use crate::{ClientError, SseEvent, SseParser, error::echo};

/// The longest line: an embedding of many dimensions is some hundred KiB.
const MAX_LINE_BYTES: u64 = 8 * 1024 * 1024;

/// The events of an answer. Dropping it closes the connection.
pub struct Events {
    url: String,
    lines: BufReader<BodyReader<'static>>,
    parser: SseParser,
    line: Vec<u8>,
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
            lines: BufReader::new(body.into_reader()),
            parser: SseParser::default(),
            line: Vec::new(),
        }
    }

    /// The next event; `None` when the stream has ended.
    ///
    /// # Errors
    /// When the connection breaks, or a line is too long to be one.
    pub fn next_event(&mut self) -> Result<Option<SseEvent>, ClientError> {
        loop {
            self.line.clear();
            let mut limited = self.lines.by_ref().take(MAX_LINE_BYTES);
            let read = limited
                .read_until(b'\n', &mut self.line)
                .map_err(|error| self.broken(&error.to_string()))?;
            if read == 0 {
                return Ok(None);
            }
            if read as u64 == MAX_LINE_BYTES {
                return Err(self.broken("a line of more than 8 MiB"));
            }
            if let Some(event) = self.parser.line(&String::from_utf8_lossy(&self.line)) {
                return Ok(Some(event));
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
