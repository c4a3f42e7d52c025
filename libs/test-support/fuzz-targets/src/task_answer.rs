//! An engine's answer to a task.
//!
//! Input: a digit that says how a stream is cut; then the answer, read as a stream and as one
//! piece.
//!
//! * Whatever numbers an engine writes, reading them goes on.
//! * However a stream is cut, its task is changed in the same way.
//! * A task ends once, and nothing comes after its end.

use task_api::fuzzing::{read_stream, read_whole};

use crate::pieces::{pieces, seeded};

/// See the top of this file.
pub fn task_answer(input: &[u8]) {
    let Some((seed, input)) = seeded(input) else {
        return;
    };
    let streamed = read_stream(std::iter::once(input));
    assert_eq!(
        read_stream(pieces(seed, input)),
        streamed,
        "the cut changed the answer"
    );
    ends_once(&streamed);
    ends_once(&read_whole(input));
}

fn ends_once(changes: &[String]) {
    let ends = |change: &String| change.starts_with("Finished") || change.starts_with("Failed");
    let first = changes.iter().position(ends);
    assert_eq!(
        first.map(|first| first + 1),
        Some(changes.len()),
        "{changes:?}"
    );
}
