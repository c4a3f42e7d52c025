//! Entry points for the fuzz targets: the reader of an engine's response to a task. Not a part of
//! the API.

use sse::Parser;

use crate::{
    response::ResponseReader,
    run::{MAX_EVENT_BYTES, read_events},
};

/// The changes of a task by a stream in `pieces`, as text.
#[must_use]
pub fn read_stream<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut parser = Parser::new(MAX_EVENT_BYTES);
    let mut reader = ResponseReader::default();
    let mut changes = Vec::new();
    for piece in pieces {
        if !read_events(&mut parser, piece, &mut reader, &mut changes) {
            break;
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
