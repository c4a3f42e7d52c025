//! The two readers of server-sent events: of engines' answers to tasks, and of the client library.
//!
//! Input: a digit that says how the stream is cut; then the stream.
//!
//! * However the stream is cut, the events are the same.
//! * Both readers find the same events, where the stream is text whose lines end as the client's
//!   server ends them.

use llorch_client::SseParser;
use task_api::fuzzing::Events;

use crate::pieces::{pieces, seeded};

/// See the top of this file.
pub fn server_sent_events(input: &[u8]) {
    let Some((seed, input)) = seeded(input) else {
        return;
    };
    let whole = read(std::iter::once(input));
    assert_eq!(
        read(pieces(seed, input)),
        whole,
        "the cut changed the events"
    );
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let has_lone_returns = text
        .match_indices('\r')
        .any(|(at, _)| text.as_bytes().get(at + 1) != Some(&b'\n'));
    if !has_lone_returns {
        let mut parser = SseParser::default();
        let events: Vec<_> = text
            .split_inclusive('\n')
            // A line that does not end is none.
            .filter(|line| line.ends_with('\n'))
            .filter_map(|line| parser.line(line))
            .map(|event| (event.event, event.data.into_bytes()))
            .collect();
        assert_eq!(events, whole, "two readers, two streams");
    }
}

fn read<'a>(reads: impl Iterator<Item = &'a [u8]>) -> Vec<(String, Vec<u8>)> {
    let mut events = Events::default();
    reads
        .flat_map(|read| {
            events
                .push(read)
                .expect("no input has an event that is too long")
        })
        .map(|(name, data)| (name, data.to_vec()))
        .collect()
}
