//! Entry points for the fuzz targets: the readers of an engine's response. Not a part of the API.

use bytes::Bytes;

use crate::{response::ResponseReader, sse::SseParser};

/// Parses server-sent events from pieces of a stream.
#[derive(Default)]
pub struct Events(SseParser);

impl Events {
    /// Parses a piece of the stream. Returns the name and the data of each event that it completes,
    /// or `None` when an event is too long.
    pub fn push(&mut self, piece: &[u8]) -> Option<Vec<(String, Bytes)>> {
        let mut events = Vec::new();
        self.0.push(piece, &mut events).ok()?;
        Some(
            events
                .into_iter()
                .map(|event| (event.name, event.data))
                .collect(),
        )
    }
}

/// The changes of a task by a stream in `pieces`, as text.
#[must_use]
pub fn read_stream<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut parser = SseParser::default();
    let mut reader = ResponseReader::default();
    let (mut events, mut changes) = (Vec::new(), Vec::new());
    for piece in pieces {
        if parser.push(piece, &mut events).is_err() {
            break;
        }
        for event in events.drain(..) {
            reader.event(&event, &mut changes);
        }
    }
    reader.end(&mut changes);
    changes.iter().map(|change| format!("{change:?}")).collect()
}

/// The changes of a task by a whole response, as text.
#[must_use]
pub fn read_whole(body: &[u8]) -> Vec<String> {
    let mut changes = Vec::new();
    ResponseReader::default().whole(body, &mut changes);
    changes.iter().map(|change| format!("{change:?}")).collect()
}
