//! However a stream is cut into reads, the events are the same, and they are those of a simple
//! reading of the whole stream.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use bytes::Bytes;
use proptest::prelude::*;
use sse::{
    EventCounter, EventSplitter, EventTooLong, Parser, fields, split_last_event, without_bom,
};

const LIMIT: usize = 40;

/// An event as id, name and data.
type Owned = (Option<String>, String, Vec<u8>);

/// A stream of lines that matter to the grammar, and line ends of all kinds.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        3 => Just(String::new()),
        4 => "(data|event|id|retry|other|)(:| |: |:  )?[a-z0:\u{e9}]{0,5}",
        1 => "\\PC{0,6}",
        1 => Just("\u{feff}data: x".to_owned()),
        1 => Just("id: \0".to_owned()),
    ];
    let end = prop::sample::select(vec!["\n", "\r\n", "\r"]);
    let lines = prop::collection::vec((line, end), 0..16);
    (lines, "(data: [a-z]{0,4})?").prop_map(|(lines, last)| {
        let text: String = lines.into_iter().map(|(line, end)| line + end).collect();
        (text + &last).into_bytes()
    })
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..6_usize, 1..12)
}

/// The stream in pieces whose lengths repeat `cuts`.
fn pieces<'a>(stream: &'a [u8], cuts: &'a [usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = stream;
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn parse(pieces: &[&[u8]], limit: usize) -> (Vec<Owned>, Result<(), EventTooLong>) {
    let mut parser = Parser::new(limit);
    let mut events = Vec::new();
    for mut piece in pieces.iter().copied() {
        loop {
            match parser.next_event(&mut piece) {
                Ok(None) => break,
                Ok(Some(event)) => events.push((
                    event.id.map(str::to_owned),
                    event.name.to_owned(),
                    event.data.to_vec(),
                )),
                Err(error) => return (events, Err(error)),
            }
        }
    }
    (events, Ok(()))
}

/// The standard's algorithm, step by step over the whole stream.
fn reference(stream: &[u8]) -> Vec<Owned> {
    let text = String::from_utf8_lossy(without_bom(stream))
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    let mut lines: Vec<&str> = text.split('\n').collect();
    lines.pop();
    let (mut id, mut name, mut data) = (None, String::new(), String::new());
    let mut events = Vec::new();
    for line in lines {
        if line.is_empty() {
            let (name, mut data) = (std::mem::take(&mut name), std::mem::take(&mut data));
            if data.pop().is_some() {
                events.push((id.clone(), name, data.into_bytes()));
            }
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = value.to_owned(),
            "data" => data = data + value + "\n",
            "id" if !value.contains('\0') => id = Some(value.to_owned()),
            _ => {}
        }
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn the_parser_follows_the_standard_however_the_stream_is_cut(
        stream in stream(), cuts in cuts(),
    ) {
        let expected = &(reference(&stream), Ok(()));
        prop_assert_eq!(&parse(&[&stream], usize::MAX), expected);
        prop_assert_eq!(&parse(&pieces(&stream, &cuts), usize::MAX), expected);
    }

    #[test]
    fn the_limit_does_not_depend_on_the_cuts(
        stream in stream(),
        long in 0..2 * LIMIT,
        at in any::<prop::sample::Index>(),
        cuts in cuts(),
    ) {
        let (before, after) = stream.split_at(at.index(stream.len() + 1));
        let stream = [before, &vec![b'x'; long], after].concat();
        prop_assert_eq!(parse(&pieces(&stream, &cuts), LIMIT), parse(&[&stream], LIMIT));
    }

    #[test]
    fn the_splitter_passes_the_same_bytes_in_complete_events(
        stream in stream(), cuts in cuts(),
    ) {
        let mut splitter = EventSplitter::new(usize::MAX);
        let mut passed = Vec::new();
        let mut read = 0;
        for piece in pieces(&stream, &cuts) {
            read += piece.len();
            passed.extend_from_slice(&splitter.push(Bytes::copy_from_slice(piece)));
            // What has passed holds each event that has arrived, and nothing of another.
            let events = reference(&passed);
            prop_assert_eq!(&events, &reference(&stream[..read]));
            let appended = [&passed[..], b"data: error\n\n"].concat();
            prop_assert_eq!(reference(&appended).len(), events.len() + 1);
        }
        passed.extend_from_slice(&splitter.take_held());
        prop_assert_eq!(passed, stream);
    }

    #[test]
    fn the_counter_and_the_last_event_agree(stream in stream(), cuts in cuts()) {
        let mut counter = EventCounter::default();
        let count: u64 = pieces(&stream, &cuts).into_iter().map(|piece| counter.push(piece)).sum();
        let mut splitter = EventSplitter::new(usize::MAX);
        let passed = splitter.push(Bytes::from(stream));
        let mut rest = &passed[..];
        // Lines after the last event belong to none, and end with no blank line.
        let ends: [&[u8]; 5] = [b"\n\n", b"\r\r", b"\n\r", b"\n\r\n", b"\r\r\n"];
        let mut is_event = ends.iter().any(|end| rest.ends_with(end));
        let mut events = 0;
        while !rest.is_empty() {
            let (earlier, last) = split_last_event(rest);
            prop_assert_eq!(fields(last).next().is_some(), !last.is_empty());
            events += u64::from(is_event && !last.is_empty());
            is_event = true;
            rest = earlier;
        }
        prop_assert_eq!(events, count);
    }
}
