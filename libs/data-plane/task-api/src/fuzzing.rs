//! Entry points for the fuzz targets: the parser of an engine's response to a task. Not a part of
//! the API.

use sse::Parser;

use crate::{
    answer::Answer,
    run::{MAX_EVENT_BYTES, read_events},
};

/// What a stream that comes in `pieces` changes in its task, in words.
#[must_use]
pub fn read_stream<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut parser = Parser::new(MAX_EVENT_BYTES);
    let mut answer = Answer::default();
    let mut changes = Vec::new();
    for piece in pieces {
        if !read_events(&mut parser, piece, &mut answer, &mut changes) {
            break;
        }
    }
    answer.end(&mut changes);
    changes.iter().map(|change| format!("{change:?}")).collect()
}

/// What a complete response changes in its task, in words.
#[must_use]
pub fn read_whole(body: &[u8]) -> Vec<String> {
    let mut changes = Vec::new();
    Answer::default().whole(body, &mut changes);
    changes.iter().map(|change| format!("{change:?}")).collect()
}
