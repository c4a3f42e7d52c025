//! Lines and their fields.

use memchr::{memchr, memchr2};

/// A byte order mark may begin a stream. It is not a part of the first line.
const BOM: &[u8] = "\u{feff}".as_bytes();

/// The beginning of a stream without its byte order mark.
#[must_use]
pub fn without_bom(stream: &[u8]) -> &[u8] {
    stream.strip_prefix(BOM).unwrap_or(stream)
}

/// A line of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// `event`, `data`, `id` or `retry`; empty for a comment; any other name has no meaning.
    pub name: &'a [u8],
    /// What follows the colon, without one space.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// Parses a line that is not empty, without its end.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Self {
        let (name, value) = match memchr(b':', line) {
            Some(colon) => {
                let (name, rest) = line.split_at(colon);
                let value = rest.get(1..).unwrap_or_default();
                (name, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        Self { name, value }
    }
}

/// The fields of a complete event, comments included.
pub fn fields(event: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut rest = event;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            // The LF of CRLF yields an empty line, which is skipped like any other.
            if !line.is_empty() {
                return Some(Field::parse(line));
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_name_and_a_value() {
        for (line, name, value) in [
            ("data: x", "data", "x"),
            ("data:x", "data", "x"),
            ("data:  x ", "data", " x "),
            ("data", "data", ""),
            ("data:", "data", ""),
            ("data: a: b", "data", "a: b"),
            (": comment", "", "comment"),
            (":", "", ""),
            ("other: y", "other", "y"),
        ] {
            let field = Field::parse(line.as_bytes());
            let expected = (name.as_bytes(), value.as_bytes());
            assert_eq!((field.name, field.value), expected, "{line:?}");
        }
    }

    #[test]
    fn an_event_has_a_field_for_each_line() {
        for event in [
            "event: a\ndata: 1\n\n",
            "event: a\r\ndata: 1\r\n\r\n",
            "event: a\rdata: 1",
        ] {
            let names: Vec<_> = fields(event.as_bytes()).map(|field| field.name).collect();
            assert_eq!(names, [&b"event"[..], b"data"], "{event:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_removed_once() {
        assert_eq!(
            without_bom("\u{feff}\u{feff}x".as_bytes()),
            "\u{feff}x".as_bytes()
        );
        assert_eq!(without_bom(b"\xef\xbbx"), b"\xef\xbbx");
    }
}
