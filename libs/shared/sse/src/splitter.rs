//! Splits a stream at the ends of events, to pass complete events on.

use bytes::{Bytes, BytesMut};
use memchr::{memchr2, memrchr2_iter};

use crate::field::Field;

/// Passes a stream on at the ends of events.
///
/// Bytes are neither changed nor reordered. An incomplete event is held back until its blank line
/// arrives. Lines that belong to no event (comments, `id`, `retry`, blank ones) are not: a server
/// may send them to keep a connection alive, without a blank line. Servers mostly write complete
/// events, so in practice nothing is held and nothing is copied.
///
/// An event that is too long to be held passes as it comes.
#[derive(Debug)]
pub struct EventSplitter {
    max_bytes: usize,
    /// The beginning of an event whose end has not arrived.
    held: BytesMut,
    /// The beginning of this event has passed already.
    is_mid_event: bool,
}

impl EventSplitter {
    /// A splitter that holds back at most `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            held: BytesMut::new(),
            is_mid_event: false,
        }
    }

    /// Takes the next piece, and returns everything up to the end of the last complete event and
    /// the lines after it that belong to none. Of an event beyond the limit, it returns what there
    /// is.
    pub fn push(&mut self, piece: Bytes) -> Bytes {
        // The end of an event is in the new bytes, or begins at most one byte before them.
        let scanned = self.held.len();
        let data = if self.held.is_empty() {
            piece
        } else {
            self.held.extend_from_slice(&piece);
            std::mem::take(&mut self.held).freeze()
        };
        let mut end = end_of_last_event(&data, scanned);
        if !self.is_mid_event || end > 0 {
            self.is_mid_event = false;
            end = end_of_plain_lines(&data, end);
        }
        if self.is_mid_event || data.len() - end > self.max_bytes {
            self.is_mid_event = true;
            // Line ends at the end may be the beginning of a blank line.
            let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
            let last = data.iter().rposition(|byte| !is_line_end(byte));
            end = last.map_or(0, |last| last + 1);
        }
        if end < data.len() {
            self.held.extend_from_slice(&data[end..]);
        }
        data.slice(..end)
    }

    /// Whether the last bytes that passed are the beginning of an event whose end has not arrived.
    #[must_use]
    pub fn is_mid_event(&self) -> bool {
        self.is_mid_event
    }

    /// The incomplete event.
    #[must_use]
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Takes the incomplete event, at the end of the stream.
    pub fn take_held(&mut self) -> Bytes {
        std::mem::take(&mut self.held).freeze()
    }
}

/// The position after the last blank line that ends after `from`; 0 if there is none. A blank line
/// is a line end right after another one.
///
/// In a stream of CRLF that is cut between CR and LF, the event ends with CR; LF belongs to what
/// follows it, and ends nothing there.
fn end_of_last_event(data: &[u8], from: usize) -> usize {
    if data.ends_with(b"\n\n") {
        return data.len();
    }
    let new = data.get(from..).unwrap_or_default();
    let line_ends = memrchr2_iter(b'\n', b'\r', new).map(|at| from + at);
    let is_line_end = |at: usize| matches!(data.get(at), Some(b'\n' | b'\r'));
    for at in line_ends {
        let before = match (data.get(at), at.checked_sub(1)) {
            (Some(b'\n'), Some(cr)) if data.get(cr) == Some(&b'\r') => cr.checked_sub(1),
            (_, before) => before,
        };
        if before.is_some_and(is_line_end) {
            return at + 1;
        }
    }
    0
}

/// The end of the lines after `from` that are complete and belong to no event.
fn end_of_plain_lines(data: &[u8], from: usize) -> usize {
    let mut end = from;
    loop {
        let rest = data.get(end..).unwrap_or_default();
        let Some(length) = memchr2(b'\n', b'\r', rest) else {
            return end;
        };
        let line = rest.get(..length).unwrap_or_default();
        let is_plain = line.is_empty() || matches!(Field::parse(line).name, b"" | b"id" | b"retry");
        if !is_plain {
            return end;
        }
        // The LF of CRLF is a blank line here, which is plain as well.
        end += length + 1;
    }
}

/// Splits complete events into the earlier ones and the last, which is returned without the blank
/// lines around it.
#[must_use]
pub fn split_last_event(events: &[u8]) -> (&[u8], &[u8]) {
    let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let length = events
        .iter()
        .rposition(|byte| !is_line_end(byte))
        .map_or(0, |last| last + 1);
    let events = events.get(..length).unwrap_or_default();
    let (earlier, last) = events.split_at(end_of_last_event(events, 0));
    let start = last.iter().position(|byte| !is_line_end(byte));
    (earlier, last.get(start.unwrap_or(0)..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 64;

    #[test]
    fn complete_events_pass_and_incomplete_ones_wait() {
        for (stream, passed) in [
            ("data: 1\n\n", 9),
            ("data: 1\n\ndata: 2", 9),
            ("data: 1\r\n\r\ndata: 2\r\n", 11),
            ("data: 1\r\rdata: 2\r", 9),
            ("data: 1\n\r\nd", 10),
            ("data: 1\r\n\nd", 10),
            ("data: 1\n", 0),
            ("data: 1\r\n", 0),
            ("\n", 1),
            ("\r\n", 2),
            (": keep-alive\n", 13),
            (": keep-alive\r\n: again\rdata: 1\n", 22),
            (": keep-al", 0),
            ("data: 1\n: comment\n", 0),
            ("data: 1\n\nretry: 5\nid: 7\nid\nevent: x\n", 27),
            ("retry\nunknown: 1\n", 6),
            ("", 0),
        ] {
            let mut splitter = EventSplitter::new(LIMIT);
            let whole = splitter.push(Bytes::from(stream));
            assert_eq!(whole, stream[..passed], "{stream:?}");
            assert_eq!(splitter.held(), &stream.as_bytes()[passed..], "{stream:?}");
            assert_eq!(splitter.take_held(), stream[passed..], "{stream:?}");
        }
    }

    #[test]
    fn complete_events_are_not_copied() {
        let piece = Bytes::from("data: 1\n\ndata: 2\n\ndata");
        let passed = EventSplitter::new(LIMIT).push(piece.clone());
        assert_eq!(passed.as_ptr(), piece.as_ptr());
    }

    #[test]
    fn a_cut_crlf_passes_with_its_event() {
        let mut splitter = EventSplitter::new(LIMIT);
        let mut push = |piece: &'static str| splitter.push(Bytes::from(piece));
        assert_eq!(push("data: 1\r"), "");
        assert_eq!(push("\n\r"), "data: 1\r\n\r");
        assert_eq!(push("\n"), "\n");
        assert_eq!(push("data: 2\n\n"), "data: 2\n\n");
    }

    #[test]
    fn an_event_beyond_the_limit_passes_as_it_comes() {
        let mut splitter = EventSplitter::new(LIMIT);
        let first = format!("data: 1\n\ndata: {}", "x".repeat(LIMIT));
        assert_eq!(splitter.push(Bytes::from(first.clone())), first);
        assert!(splitter.is_mid_event());
        for (piece, passed, is_mid_event) in [
            ("xx", "xx", true),
            ("x\n", "x", true),
            ("data: y\r", "\ndata: y", true),
            ("\n", "", true),
            ("\r\ndata: 2", "\r\n\r\n", false),
            ("\n\n", "data: 2\n\n", false),
        ] {
            assert_eq!(splitter.push(Bytes::from(piece)), passed, "{piece:?}");
            assert_eq!(splitter.is_mid_event(), is_mid_event, "{piece:?}");
        }
        let complete = format!("data: {}\n\n", "x".repeat(LIMIT));
        let mut splitter = EventSplitter::new(LIMIT);
        assert_eq!(splitter.push(Bytes::from(complete.clone())), complete);
        assert!(!splitter.is_mid_event());
    }

    #[test]
    fn the_last_event_is_split_off() {
        for (events, earlier, last) in [
            ("a\n\nb\n\n", "a\n\n", "b"),
            ("a\r\n\r\nb\r\n\r\n", "a\r\n\r\n", "b"),
            ("a\n\n\n\nb\nc\n\n", "a\n\n\n\n", "b\nc"),
            ("b\n\n", "", "b"),
            ("\nb\n\n", "", "b"),
            ("\n\n", "", ""),
            ("", "", ""),
        ] {
            let split = split_last_event(events.as_bytes());
            assert_eq!(split, (earlier.as_bytes(), last.as_bytes()), "{events:?}");
        }
    }
}
