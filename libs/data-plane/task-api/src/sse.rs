//! Parses server-sent events from a stream in arbitrary pieces (HTML standard, 9.2.6).

use bytes::{Bytes, BytesMut};
use memchr::memchr2;
use thiserror::Error;

/// The largest event. A token has a few hundred bytes, and about 10 KiB with log-probabilities.
pub(crate) const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// One event with its data. The name is empty if the stream does not set one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SseEvent {
    pub(crate) name: String,
    pub(crate) data: Bytes,
}

/// An event exceeds [`MAX_EVENT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an event of more than {MAX_EVENT_BYTES} bytes")]
pub(crate) struct EventTooLong;

/// An incremental parser.
#[derive(Default)]
pub(crate) struct SseParser {
    /// The beginning of an incomplete line.
    line: Vec<u8>,
    /// The last byte was a carriage return. A line feed right after it ends the same line.
    after_cr: bool,
    name: String,
    data: BytesMut,
    /// The event has a `data` line, which may be empty.
    has_data: bool,
}

impl SseParser {
    /// Parses a piece of the stream and appends the events that it completes.
    pub(crate) fn push(
        &mut self,
        mut piece: &[u8],
        events: &mut Vec<SseEvent>,
    ) -> Result<(), EventTooLong> {
        while let Some(first) = piece.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                piece = piece.get(1..).unwrap_or_default();
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', piece) else {
                self.line.extend_from_slice(piece);
                return self.check();
            };
            let (line, rest) = piece.split_at(end);
            self.after_cr = rest.first() == Some(&b'\r');
            piece = rest.get(1..).unwrap_or_default();
            if self.line.is_empty() {
                self.end_line(line, events);
            } else {
                self.line.extend_from_slice(line);
                let whole = std::mem::take(&mut self.line);
                self.end_line(&whole, events);
            }
            self.check()?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), EventTooLong> {
        if self.line.len() + self.data.len() > MAX_EVENT_BYTES {
            return Err(EventTooLong);
        }
        Ok(())
    }

    fn end_line(&mut self, line: &[u8], events: &mut Vec<SseEvent>) {
        if line.is_empty() {
            return self.dispatch(events);
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => {
                let (field, value) = line.split_at(colon);
                let value = value.get(1..).unwrap_or_default();
                (field, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match field {
            b"data" => {
                if self.has_data {
                    self.data.extend_from_slice(b"\n");
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            // Comments, ids and unknown fields are ignored.
            _ => {}
        }
    }

    fn dispatch(&mut self, events: &mut Vec<SseEvent>) {
        let name = std::mem::take(&mut self.name);
        let data = self.data.split().freeze();
        if std::mem::take(&mut self.has_data) {
            events.push(SseEvent { name, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::*;

    fn parse(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut parser = SseParser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.push(piece, &mut events).unwrap();
        }
        events
            .into_iter()
            .map(|event| (event.name, String::from_utf8(event.data.to_vec()).unwrap()))
            .collect()
    }

    fn one(name: &str, data: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), data.to_owned())]
    }

    #[test]
    fn parses_the_grammar_of_the_standard() {
        for (text, expected) in [
            ("data: x\n\n", one("", "x")),
            ("data:x\r\n\r\n", one("", "x")),
            ("data: x\r\r", one("", "x")),
            ("data:  x\n\n", one("", " x")),
            ("data: a\ndata: b\n\n", one("", "a\nb")),
            ("data\n\n", one("", "")),
            ("event: error\ndata: {}\n\n", one("error", "{}")),
            (": ping\n\nid: 4\nretry: 5\ndata: x\n\n", one("", "x")),
            ("event: lost\n\ndata: x\n\n", one("", "x")),
            ("data: no end\n", vec![]),
        ] {
            assert_eq!(parse(&[text.as_bytes()]), expected, "{text:?}");
        }
    }

    #[test]
    fn an_event_that_is_too_long_is_refused() {
        let half = vec![b'x'; MAX_EVENT_BYTES];
        let mut events = Vec::new();
        let mut parser = SseParser::default();
        assert_eq!(parser.push(&half, &mut events), Ok(()));
        assert_eq!(parser.push(b"x", &mut events), Err(EventTooLong));
        let mut parser = SseParser::default();
        parser.push(b"data: ", &mut events).unwrap();
        parser.push(b"\ndata: ", &mut events).unwrap();
        assert_eq!(
            parser.push(&[&half[..], b"\n"].concat(), &mut events),
            Err(EventTooLong)
        );
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(
            lines in prop::collection::vec("(data|event|: x|)(: ?[a-zü]{0,4})?", 0..12),
            endings in prop::collection::vec(0..3_usize, 12),
            cuts in prop::collection::vec(1..5_usize, 1..10),
            blank in any::<bool>(),
        ) {
            let mut text = String::new();
            for (line, ending) in lines.iter().zip(endings) {
                text.push_str(line);
                text.push_str(["\n", "\r\n", "\r"][ending]);
            }
            if blank {
                text.push_str("\n\n");
            }
            let mut pieces = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                pieces.push(now);
                rest = later;
            }
            prop_assert_eq!(parse(&pieces), parse(&[text.as_bytes()]));
        }
    }
}
