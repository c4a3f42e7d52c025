//! Server-sent events on their way through: pass whole events on, notice how the stream ends.
//!
//! An incomplete event is of no use to a client, and would spoil the error event that has to follow
//! when the stream breaks in the middle of it. So what comes after the last event's end waits for
//! its rest. Engines write whole events, so that nothing waits in practice.

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use thiserror::Error;

use crate::dialect::{Dialect, Event};

/// The longest event. A token is a few hundred bytes; one with all log-probabilities some 10 KiB.
pub(crate) const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// The engine sent an event that is longer than any engine's.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the engine sent an event of more than {MAX_EVENT_BYTES} bytes")]
pub(crate) struct TooLong;

/// Cuts a stream at the ends of events.
#[derive(Debug)]
pub(crate) struct EventStream {
    dialect: Dialect,
    /// The beginning of an event whose end has not come.
    held: BytesMut,
    last: Event,
}

impl EventStream {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            held: BytesMut::new(),
            last: Event::None,
        }
    }

    /// Takes what came and gives back what may go on: everything up to the end of the last whole
    /// event.
    pub(crate) fn push(&mut self, data: Bytes) -> Result<Bytes, TooLong> {
        // The end of an event may begin in what is held, so look a little back, but never at all of
        // it again.
        let mut looked_at = 0;
        let data = if self.held.is_empty() {
            data
        } else {
            looked_at = self.held.len().saturating_sub(LONGEST_END - 1);
            self.held.extend_from_slice(&data);
            std::mem::take(&mut self.held).freeze()
        };
        let end = end_of_last_event(&data, looked_at);
        if data.len() - end > MAX_EVENT_BYTES {
            return Err(TooLong);
        }
        if end < data.len() {
            self.held.extend_from_slice(&data[end..]);
        }
        if end > 0 {
            self.note(&data[..end]);
        }
        Ok(data.slice(..end))
    }

    /// Remembers what several whole events mean for the end of the stream, as if each had come
    /// alone: comments mean nothing, and an end stays one, whatever but an error follows it.
    fn note(&mut self, mut events: &[u8]) {
        if self.dialect.is_ordinary(events) {
            if self.last != Event::End {
                self.last = Event::Other;
            }
            return;
        }
        // Backwards, because the last event decides in nearly every case.
        let mut has_other = false;
        while !events.is_empty() {
            let (before, last) = split_last_event(events);
            match self.dialect.classify(last) {
                Event::None => {}
                Event::Other => has_other = true,
                Event::Error if has_other => {
                    self.last = Event::Other;
                    return;
                }
                meaning => {
                    self.last = meaning;
                    return;
                }
            }
            events = before;
        }
        if has_other && self.last != Event::End {
            self.last = Event::Other;
        }
    }

    /// Whether the stream may end here: after its last event, and not in the middle of one. An end
    /// whose last line break is missing is an end all the same, and so is one with a line break
    /// too many.
    pub(crate) fn is_over(&self) -> bool {
        let over = |event| self.dialect.is_over(event);
        let held = self.held.trim_ascii();
        over(self.last) && held.is_empty() || over(self.dialect.classify(held))
    }

    /// Which API the stream belongs to.
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Gives up what waits for its rest: the stream has ended properly without it.
    pub(crate) fn take_rest(&mut self) -> Bytes {
        std::mem::take(&mut self.held).freeze()
    }
}

/// The longest thing that ends an event: the end of its last line and a blank line.
const LONGEST_END: usize = 3;

/// The place after the last blank line (HTML standard, 9.2.6) that ends after `from`; 0 when there
/// is none.
fn end_of_last_event(data: &[u8], from: usize) -> usize {
    if data.ends_with(b"\n\n") {
        return data.len();
    }
    let after = |pattern: &[u8]| {
        memmem::rfind(&data[from..], pattern).map_or(0, |at| from + at + pattern.len())
    };
    after(b"\n\n").max(after(b"\n\r\n"))
}

/// The last of several whole events, without the blank line after it, and those before it.
fn split_last_event(events: &[u8]) -> (&[u8], &[u8]) {
    let events = events.trim_ascii_end();
    let start = memmem::rfind(events, b"\n\n")
        .max(memmem::rfind(events, b"\n\r\n"))
        .unwrap_or(0);
    (&events[..start], events[start..].trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    fn stream() -> EventStream {
        EventStream::new(Dialect::Completions)
    }

    #[test]
    fn knows_whether_a_stream_may_end() {
        for (text, is_over) in [
            ("", false),
            ("data: {\"x\":1}\n\n", false),
            ("data: {\"x\":1}\n\ndata: [DONE]\n\n", true),
            ("data: {\"x\":1}\r\n\r\ndata: [DONE]\r\n\r\n", true),
            ("data: [DONE]\n\ndata: {\"error\":{\"code\":500}}\n\n", true),
            ("data: [DONE]\n\ndata: half", false),
            ("data: [DONE]\n\n:\n\n", true),
            ("data: [DONE]\n", true),
            ("id: 7\ndata: [DONE]\n\n", true),
        ] {
            let mut events = stream();
            let whole = text.rfind("\n\n").map_or(0, |end| end + 2);
            let whole = if text.contains("\r\n") {
                text.len()
            } else {
                whole
            };
            assert_eq!(events.push(Bytes::from(text)).unwrap(), text[..whole]);
            assert_eq!(events.is_over(), is_over, "{text:?}");
        }
    }

    // spec: PATH-46
    #[test]
    fn the_verdict_on_an_end_does_not_depend_on_how_the_stream_is_cut() {
        for (text, is_over) in [
            ("data: [DONE]\n\ndata: {\"x\":1}\n\n", true),
            (
                "data: {\"x\":1}\n\ndata: [DONE]\n\ndata: {\"x\":2}\n\n",
                true,
            ),
            ("data: {\n\ndata: [DONE]\n\n}\n\n", true),
            ("data: [DONE]\n\n\n", true),
            ("data: [DONE]\r\n\r\n\r\n", true),
            ("event: error\ndata: {}\n\ndata: {\"x\":1}\n\n", false),
            (
                "data: [DONE]\n\nevent: error\ndata: {}\n\ndata: {\"x\":1}\n\n",
                false,
            ),
            ("data: {\"x\":1}\n\nevent: error\ndata: {}\n\n:\n\n", true),
        ] {
            for length in 1..=text.len() {
                let mut events = stream();
                for read in text.as_bytes().chunks(length) {
                    events.push(Bytes::copy_from_slice(read)).unwrap();
                }
                assert_eq!(events.is_over(), is_over, "{text:?} in reads of {length}");
            }
        }
    }

    #[test]
    fn half_an_event_waits_for_its_rest() {
        let mut events = stream();
        assert_eq!(
            events.push(Bytes::from("data: 1\n\ndata: {\"cho")).unwrap(),
            "data: 1\n\n"
        );
        assert!(!events.held.is_empty());
        assert_eq!(events.push(Bytes::from("ices\":1}\n")).unwrap(), "");
        assert_eq!(
            events.push(Bytes::from("\n")).unwrap(),
            "data: {\"choices\":1}\n\n"
        );
        assert!(events.held.is_empty());
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut events = stream();
        let half = Bytes::from(vec![b'x'; MAX_EVENT_BYTES]);
        assert_eq!(events.push(half.clone()).unwrap(), "");
        assert_eq!(events.push(half), Err(TooLong));
    }

    proptest! {
        /// However the network cuts the stream: the same bytes in the same order, and only whole events before
        /// the end.
        // spec: PATH-2
        #[test]
        fn bytes_are_sacred(
            events in prop::collection::vec("(data: [a-z{}\"]{0,12}\n){1,2}", 0..8),
            crlf in any::<bool>(),
            cuts in prop::collection::vec(1..7_usize, 1..20),
        ) {
            let text: String = events.iter().map(|event| format!("{event}\n")).collect();
            let text = if crlf { text.replace('\n', "\r\n") } else { text };
            let mut stream = super::tests::stream();
            let mut passed = Vec::new();
            let mut rest = text.as_bytes();
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                let out = stream.push(Bytes::copy_from_slice(now)).unwrap();
                passed.extend_from_slice(&out);
                prop_assert!(passed.is_empty() || passed.ends_with(b"\n\n") || passed.ends_with(b"\n\r\n"));
                rest = later;
            }
            prop_assert_eq!(String::from_utf8(passed).unwrap(), text);
            prop_assert!(stream.held.is_empty());
        }
    }
}
