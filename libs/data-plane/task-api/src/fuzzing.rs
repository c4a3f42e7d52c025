//! Entry points for the fuzz targets: what reads an engine's answer to a task, as this crate uses
//! it. Not a part of the API.

use bytes::Bytes;

use crate::{answer::Answer, sse::SseParser};

/// Reads server-sent events from pieces of a stream.
#[derive(Default)]
pub struct Events(SseParser);

impl Events {
    /// Takes a piece of the stream and gives the events that it completes, each with its name and
    /// its data; `None` when one is too long.
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

/// What a stream that comes in `pieces` changes in its task, in words.
#[must_use]
pub fn read_stream<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut parser = SseParser::default();
    let mut answer = Answer::default();
    let (mut events, mut changes) = (Vec::new(), Vec::new());
    for piece in pieces {
        if parser.push(piece, &mut events).is_err() {
            break;
        }
        for event in events.drain(..) {
            answer.event(&event, &mut changes);
        }
    }
    answer.end(&mut changes);
    changes.iter().map(|change| format!("{change:?}")).collect()
}

/// What an answer in one piece changes in its task, in words.
#[must_use]
pub fn read_whole(body: &[u8]) -> Vec<String> {
    let mut changes = Vec::new();
    Answer::default().whole(body, &mut changes);
    changes.iter().map(|change| format!("{change:?}")).collect()
}
