//! Splits a stream at the ends of events, to pass complete events on.

use bytes::{Bytes, BytesMut};
use memchr::memrchr2_iter;

use crate::error::EventTooLong;

/// Passes a stream on at the ends of events.
///
/// Bytes are neither changed nor reordered. An incomplete event is held back until its blank line
/// arrives. Servers mostly write complete events, so in practice nothing is held and nothing is
/// copied.
#[derive(Debug)]
pub struct EventSplitter {
    max_bytes: usize,
    /// The beginning of an event whose end has not arrived.
    held: BytesMut,
}

impl EventSplitter {
    /// A splitter that holds back at most `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            held: BytesMut::new(),
        }
    }

    /// Takes the next piece, and returns everything up to the end of the last complete event.
    ///
    /// # Errors
    /// When an incomplete event is too long. The splitter cannot be used after that.
    pub fn push(&mut self, piece: Bytes) -> Result<Bytes, EventTooLong> {
        // The end of an event is in the new bytes, or begins at most one byte before them.
        let scanned = self.held.len();
        let data = if self.held.is_empty() {
            piece
        } else {
            self.held.extend_from_slice(&piece);
            std::mem::take(&mut self.held).freeze()
        };
        let end = end_of_last_event(&data, scanned);
        if data.len() - end > self.max_bytes {
            return Err(EventTooLong {
                max_bytes: self.max_bytes,
            });
        }
        if end < data.len() {
            self.held.extend_from_slice(&data[end..]);
        }
        Ok(data.slice(..end))
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
            ("\n", 0),
            ("\r\n", 0),
            ("", 0),
        ] {
            let mut splitter = EventSplitter::new(LIMIT);
            let whole = splitter.push(Bytes::from(stream)).unwrap();
            assert_eq!(whole, stream[..passed], "{stream:?}");
            assert_eq!(splitter.held(), &stream.as_bytes()[passed..], "{stream:?}");
            assert_eq!(splitter.take_held(), stream[passed..], "{stream:?}");
        }
    }

    #[test]
    fn complete_events_are_not_copied() {
        let piece = Bytes::from("data: 1\n\ndata: 2\n\ndata");
        let passed = EventSplitter::new(LIMIT).push(piece.clone()).unwrap();
        assert_eq!(passed.as_ptr(), piece.as_ptr());
    }

    #[test]
    fn a_cut_crlf_passes_with_its_event() {
        let mut splitter = EventSplitter::new(LIMIT);
        let mut push = |piece: &'static str| splitter.push(Bytes::from(piece)).unwrap();
        assert_eq!(push("data: 1\r"), "");
        assert_eq!(push("\n\r"), "data: 1\r\n\r");
        assert_eq!(push("\n"), "");
        assert_eq!(push("data: 2\n\n"), "\ndata: 2\n\n");
    }

    #[test]
    fn an_incomplete_event_beyond_the_limit_is_refused() {
        let mut splitter = EventSplitter::new(LIMIT);
        assert_eq!(splitter.push(Bytes::from(vec![b'x'; LIMIT])).unwrap(), "");
        let refused = Err(EventTooLong { max_bytes: LIMIT });
        assert_eq!(splitter.push(Bytes::from("x")), refused);
        let complete = format!("data: {}\n\n", "x".repeat(LIMIT));
        let passed = EventSplitter::new(LIMIT).push(Bytes::from(complete.clone()));
        assert_eq!(passed, Ok(Bytes::from(complete)));
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
