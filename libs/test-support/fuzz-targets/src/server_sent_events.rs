//! Server-sent events, as every reader of this workspace reads them.
//!
//! Input: a digit that says how the stream is cut; then the stream.
//!
//! * However the stream is cut, the parser finds the events that a simple reading of the whole
//!   stream finds.
//! * The splitter passes the same bytes on, and what it has passed holds complete events only.
//! * The counter and the splitter find the same number of events.

use bytes::Bytes;
use sse::{EventCounter, EventSplitter, Parser, split_last_event, without_bom};

use crate::pieces::{pieces, seeded};

/// The last id, the name and the data of an event.
type Event = (Option<String>, String, Vec<u8>);

/// See the top of this file.
pub fn server_sent_events(input: &[u8]) {
    let Some((seed, input)) = seeded(input) else {
        return;
    };
    let expected = reference(input);
    assert_eq!(parse(std::iter::once(input)), expected, "the parser");
    assert_eq!(
        parse(pieces(seed, input)),
        expected,
        "the cut changed the events"
    );
    splits_at_events(seed, input);
}

fn parse<'a>(reads: impl Iterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut parser = Parser::new(usize::MAX);
    let mut events = Vec::new();
    for mut read in reads {
        while let Some(event) = parser
            .next_event(&mut read)
            .expect("no event exceeds the limit")
        {
            events.push((
                event.id.map(str::to_owned),
                event.name.to_owned(),
                event.data.to_vec(),
            ));
        }
    }
    events
}

fn splits_at_events(seed: u8, input: &[u8]) {
    let mut splitter = EventSplitter::new(usize::MAX);
    let mut counter = EventCounter::default();
    let mut passed = Vec::new();
    let mut count = 0;
    for read in pieces(seed, input) {
        count += counter.push(read);
        passed.extend_from_slice(&splitter.push(Bytes::copy_from_slice(read)));
    }
    assert_eq!(
        reference(&passed),
        reference(input),
        "an event was held back"
    );
    let mut rest = passed.as_slice();
    // Lines after the last event belong to none, and end with no blank line.
    let ends: [&[u8]; 5] = [b"\n\n", b"\r\r", b"\n\r", b"\n\r\n", b"\r\r\n"];
    let mut is_event = ends.iter().any(|end| rest.ends_with(end));
    let mut split = 0;
    while !rest.is_empty() {
        let (earlier, last) = split_last_event(rest);
        split += u64::from(is_event && !last.is_empty());
        is_event = true;
        rest = earlier;
    }
    assert_eq!(split, count, "the counter");
    passed.extend_from_slice(&splitter.take_held());
    assert_eq!(passed, input, "a byte was lost or moved");
}

/// The algorithm of the standard, line by line over the whole stream.
fn reference(input: &[u8]) -> Vec<Event> {
    let (mut id, mut name, mut data) = (None, String::new(), None::<Vec<u8>>);
    let mut events = Vec::new();
    for line in lines(without_bom(input)) {
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || String::from_utf8_lossy(value).into_owned();
        match field {
            b"" if line.is_empty() => {
                let name = std::mem::take(&mut name);
                events.extend(data.take().map(|data| (id.clone(), name, data)));
            }
            b"event" => name = text(),
            b"data" => match &mut data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => data = Some(value.to_vec()),
            },
            b"id" if !value.contains(&0) => id = Some(text()),
            _ => {}
        }
    }
    events
}

/// The lines that end.
fn lines(input: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut bytes = input.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if !matches!(byte, b'\n' | b'\r') {
            line.push(byte);
            continue;
        }
        if byte == b'\r' {
            bytes.next_if_eq(&b'\n');
        }
        lines.push(std::mem::take(&mut line));
    }
    lines
}
