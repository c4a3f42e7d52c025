//! Counts events.

use memchr::memchr2_iter;

/// Counts the events of a stream that comes in pieces of any size, without storing them.
///
/// An event is one or more lines with a blank line after them, whatever the lines say.
#[derive(Debug, Clone, Default)]
pub struct EventCounter {
    /// The last byte was CR.
    after_cr: bool,
    /// The current line has a byte.
    in_line: bool,
    /// The current event has a line.
    in_event: bool,
}

impl EventCounter {
    /// Takes the next piece, and returns how many events it completes.
    pub fn push(&mut self, piece: &[u8]) -> u64 {
        let mut completed = 0;
        let mut line_start = 0;
        for at in memchr2_iter(b'\n', b'\r', piece) {
            self.in_line |= at > line_start;
            let is_lf = piece.get(at) == Some(&b'\n');
            let completes_crlf = is_lf && self.after_cr && at == line_start;
            line_start = at + 1;
            self.after_cr = !is_lf;
            if completes_crlf {
                continue;
            }
            if std::mem::take(&mut self.in_line) {
                self.in_event = true;
            } else if std::mem::take(&mut self.in_event) {
                completed += 1;
            }
        }
        if line_start < piece.len() {
            self.in_line = true;
            self.after_cr = false;
        }
        completed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_blank_line_after_lines_completes_an_event() {
        for (stream, count) in [
            ("data: 1\n\ndata: 2\n\n", 2),
            ("data: 1\r\n\r\ndata: 2\r\n\r\n", 2),
            ("data: 1\r\rdata: 2\r\r", 2),
            ("data: 1\n\r\ndata: 2\r\n\n", 2),
            (": comment\n\n", 1),
            ("\n\n\ndata: 1\n\n\n\n", 1),
            ("data: 1\n", 0),
            ("", 0),
        ] {
            assert_eq!(
                EventCounter::default().push(stream.as_bytes()),
                count,
                "{stream:?}"
            );
            let mut counter = EventCounter::default();
            let bytes = stream.as_bytes().chunks(1);
            let sum: u64 = bytes.map(|byte| counter.push(byte)).sum();
            assert_eq!(sum, count, "{stream:?} byte by byte");
        }
    }
}
