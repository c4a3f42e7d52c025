//! Parses the events of a stream.

use std::{borrow::Cow, fmt, mem, time::Duration};

use memchr::memchr2;

use crate::{
    error::EventTooLong,
    field::{Field, without_bom},
};

/// An event of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The last event id of the stream: of this event or an earlier one. `None` before the first.
    pub id: Option<&'a str>,
    /// The type of the event; empty stands for `message`.
    pub name: &'a str,
    /// The data; several lines are joined by LF.
    pub data: &'a [u8],
}

impl<'a> Event<'a> {
    /// The data as text. Bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn data_text(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.data)
    }
}

impl fmt::Debug for Event<'_> {
    /// Shows the length of the data only, so that a log cannot hold it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("data_bytes", &self.data.len())
            .finish()
    }
}

/// Parses the events of a stream that comes in pieces of any size.
///
/// An incomplete event at the end of the stream is discarded, so the end needs no call.
pub struct Parser {
    max_bytes: usize,
    /// No line is complete yet: a byte order mark may come.
    at_start: bool,
    /// The last byte was CR: LF after it belongs to the same line end.
    after_cr: bool,
    /// The beginning of a line whose end has not arrived.
    line: Vec<u8>,
    name: String,
    data: Vec<u8>,
    /// The event has a `data` line, which may be empty.
    has_data: bool,
    /// The id of the current event, valid if `has_id`.
    pending_id: String,
    has_id: bool,
    id: Option<String>,
    retry: Option<Duration>,
    /// The buffers hold the event that was returned last.
    is_returned: bool,
}

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Parser {
    /// A parser of a stream in which no line, and no event's data, may exceed `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            at_start: true,
            after_cr: false,
            line: Vec::new(),
            name: String::new(),
            data: Vec::new(),
            has_data: false,
            pending_id: String::new(),
            has_id: false,
            id: None,
            retry: None,
            is_returned: false,
        }
    }

    /// Reads from the beginning of `input`, and advances it, until an event is complete. Returns
    /// `None` when all of `input` is read.
    ///
    /// # Errors
    /// When a line or an event's data is too long. The parser cannot be used after that.
    pub fn next_event<'p, 'i: 'p>(
        &'p mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'p>>, EventTooLong> {
        if mem::take(&mut self.is_returned) {
            self.clear_event();
        }
        // The data, while it is one line that is complete in `input`.
        let mut borrowed: Option<&'i [u8]> = None;
        while let Some((&first, after_first)) = input.split_first() {
            if mem::take(&mut self.after_cr) && first == b'\n' {
                *input = after_first;
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', input) else {
                self.line.extend_from_slice(input);
                *input = &[];
                self.check(self.line.len())?;
                break;
            };
            let (line, rest) = input.split_at(end);
            self.after_cr = rest.first() == Some(&b'\r');
            *input = rest.get(1..).unwrap_or_default();
            let is_blank = if self.line.is_empty() {
                self.check(line.len())?;
                self.end_line(line, &mut borrowed, Some)
            } else {
                let mut whole = mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.check(whole.len())?;
                let is_blank = self.end_line(&whole, &mut borrowed, |_| None);
                // Reuse the buffer.
                whole.clear();
                self.line = whole;
                is_blank
            };
            self.check(self.data.len())?;
            if !is_blank {
                continue;
            }
            if mem::take(&mut self.has_id) {
                mem::swap(self.id.get_or_insert_default(), &mut self.pending_id);
            }
            if self.has_data {
                self.is_returned = true;
                return Ok(Some(Event {
                    id: self.id.as_deref(),
                    name: &self.name,
                    data: borrowed.unwrap_or(&self.data),
                }));
            }
            self.clear_event();
        }
        if let Some(data) = borrowed {
            self.data.extend_from_slice(data);
        }
        Ok(None)
    }

    /// The reconnection time that the stream asks for.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// The last event id of the stream, also of an event without data.
    #[must_use]
    pub fn last_event_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Takes a line, and returns whether it is blank. `borrow` returns the value of the line if it
    /// lives as long as the input.
    fn end_line<'l, 'i>(
        &mut self,
        line: &'l [u8],
        borrowed: &mut Option<&'i [u8]>,
        borrow: impl FnOnce(&'l [u8]) -> Option<&'i [u8]>,
    ) -> bool {
        let line = if mem::take(&mut self.at_start) {
            without_bom(line)
        } else {
            line
        };
        if line.is_empty() {
            return true;
        }
        let Field { name, value } = Field::parse(line);
        match name {
            b"data" if !self.has_data => {
                self.has_data = true;
                *borrowed = borrow(value);
                if borrowed.is_none() {
                    self.data.extend_from_slice(value);
                }
            }
            b"data" => {
                if let Some(first) = borrowed.take() {
                    self.data.extend_from_slice(first);
                }
                self.data.push(b'\n');
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.name.clear();
                self.name.push_str(&String::from_utf8_lossy(value));
            }
            b"id" if !value.contains(&0) => {
                self.has_id = true;
                self.pending_id.clear();
                self.pending_id.push_str(&String::from_utf8_lossy(value));
            }
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                let millis = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
                self.retry = millis.map(Duration::from_millis).or(self.retry);
            }
            // Comments and unknown fields.
            _ => {}
        }
        false
    }

    fn clear_event(&mut self) {
        self.name.clear();
        self.data.clear();
        self.has_data = false;
    }

    fn check(&self, bytes: usize) -> Result<(), EventTooLong> {
        if bytes > self.max_bytes {
            return Err(EventTooLong {
                max_bytes: self.max_bytes,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 64;

    /// An event as id, name and data.
    type Owned = (Option<String>, String, String);

    fn parse(stream: &str) -> Vec<Owned> {
        let mut parser = Parser::new(LIMIT);
        let mut input = stream.as_bytes();
        let mut events = Vec::new();
        while let Some(event) = parser.next_event(&mut input).unwrap() {
            events.push((
                event.id.map(str::to_owned),
                event.name.to_owned(),
                event.data_text().into_owned(),
            ));
        }
        events
    }

    fn named(name: &str, data: &str) -> Owned {
        (None, name.to_owned(), data.to_owned())
    }

    fn with_id(id: &str, data: &str) -> Owned {
        (Some(id.to_owned()), String::new(), data.to_owned())
    }

    #[test]
    fn the_grammar_of_the_standard() {
        for (stream, expected) in [
            // Line ends.
            ("data: x\n\n", vec![named("", "x")]),
            ("data: x\r\n\r\n", vec![named("", "x")]),
            ("data: x\r\r", vec![named("", "x")]),
            ("data: x\r\n\n", vec![named("", "x")]),
            (
                "data: x\n\r\ndata: y\r\n\r",
                vec![named("", "x"), named("", "y")],
            ),
            // A byte order mark, only at the beginning.
            ("\u{feff}data: x\n\n", vec![named("", "x")]),
            ("\u{feff}\u{feff}data: x\n\n", vec![]),
            ("\n\u{feff}data: x\n\n", vec![]),
            // Values.
            ("data:x\n\n", vec![named("", "x")]),
            ("data:  x\n\n", vec![named("", " x")]),
            ("data: x: y\n\n", vec![named("", "x: y")]),
            ("data\n\n", vec![named("", "")]),
            ("data\ndata\n\n", vec![named("", "\n")]),
            ("data: a\ndata: b\n\n", vec![named("", "a\nb")]),
            // Names of events belong to one event.
            ("event: error\ndata: {}\n\n", vec![named("error", "{}")]),
            ("event: a\nevent: b\ndata: x\n\n", vec![named("b", "x")]),
            ("event: lost\n\ndata: x\n\n", vec![named("", "x")]),
            (
                "event: a\ndata: x\n\ndata: y\n\n",
                vec![named("a", "x"), named("", "y")],
            ),
            // Ids stay, also when an event has no data; NUL makes one invalid.
            (
                "id: 7\ndata: x\n\ndata: y\n\n",
                vec![with_id("7", "x"), with_id("7", "y")],
            ),
            ("id: 7\n\ndata: x\n\n", vec![with_id("7", "x")]),
            (
                "id: 7\ndata: x\n\nid\ndata: y\n\n",
                vec![with_id("7", "x"), with_id("", "y")],
            ),
            ("id: 7\nid: \0\ndata: x\n\n", vec![with_id("7", "x")]),
            // Comments and unknown fields.
            (": ping\n\n:\ndata: x\n\n", vec![named("", "x")]),
            (
                "other: y\nData: z\n data: z\ndata: x\n\n",
                vec![named("", "x")],
            ),
            // The end of the stream discards an incomplete event.
            ("data: x\n\ndata: y", vec![named("", "x")]),
            ("data: x\n\ndata: y\n", vec![named("", "x")]),
            ("", vec![]),
        ] {
            assert_eq!(parse(stream), expected, "{stream:?}");
        }
    }

    #[test]
    fn a_retry_of_digits_is_the_reconnection_time() {
        for (stream, expected) in [
            ("retry: 1500\n", Some(1500)),
            ("retry: 1500\nretry: x\n", Some(1500)),
            ("retry: 99999999999999999999999\n", None),
            ("retry: -1\n", None),
            ("retry\n", None),
            ("retry: 1500", None),
        ] {
            let mut parser = Parser::new(LIMIT);
            assert_eq!(parser.next_event(&mut stream.as_bytes()), Ok(None));
            assert_eq!(
                parser.retry(),
                expected.map(Duration::from_millis),
                "{stream:?}"
            );
        }
    }

    #[test]
    fn an_id_counts_with_the_blank_line() {
        let mut parser = Parser::new(LIMIT);
        parser.next_event(&mut &b"id: 7\n"[..]).unwrap();
        assert_eq!(parser.last_event_id(), None);
        parser.next_event(&mut &b"\n"[..]).unwrap();
        assert_eq!(parser.last_event_id(), Some("7"));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced_in_text_only() {
        let mut parser = Parser::new(LIMIT);
        let mut input = &b"event: \xff\ndata: \xff\n\n"[..];
        let event = parser.next_event(&mut input).unwrap().unwrap();
        assert_eq!((event.name, event.data), ("\u{fffd}", &b"\xff"[..]));
        assert_eq!(event.data_text(), "\u{fffd}");
    }

    #[test]
    fn one_complete_data_line_is_borrowed_from_the_input() {
        let stream = "event: a\ndata: x\n\n".to_owned();
        let mut parser = Parser::new(LIMIT);
        let mut input = stream.as_bytes();
        let event = parser.next_event(&mut input).unwrap().unwrap();
        assert!(
            stream
                .as_bytes()
                .as_ptr_range()
                .contains(&event.data.as_ptr())
        );
    }

    #[test]
    fn lines_and_data_beyond_the_limit_are_refused() {
        let line = "x".repeat(LIMIT);
        let data = "x".repeat(LIMIT - 7);
        let refused = Err(EventTooLong { max_bytes: LIMIT });
        for (stream, expected) in [
            (line.clone(), Ok(None)),
            (format!("{line}\n{line}\n"), Ok(None)),
            (format!("{line}x"), refused),
            (format!("{line}x\n"), refused),
            (format!(":{line}\n"), refused),
            (format!("data: {data}\ndata: 123456"), Ok(None)),
            (format!("data: {data}\ndata: 123456\n"), Ok(None)),
            (format!("data: {data}\ndata: 1234567\n"), refused),
        ] {
            let mut parser = Parser::new(LIMIT);
            let parsed = parser.next_event(&mut stream.as_bytes());
            assert_eq!(parsed, expected, "{stream:?}");
        }
    }

    #[test]
    fn debug_output_shows_no_data() {
        let event = Event {
            id: None,
            name: "token",
            data: b"secret",
        };
        assert_eq!(
            format!("{event:?}"),
            r#"Event { id: None, name: "token", data_bytes: 6 }"#
        );
    }
}
