//! Passes server-sent events on, and recognises the end of the stream.
//!
//! Only whole events and lines that belong to none go to the client. An incomplete event is useless
//! to it, and would corrupt the error event that follows when the stream breaks. Engines write
//! whole events, so in practice nothing is held back. An event that is too long to be held passes
//! as it comes.

use bytes::Bytes;
use sse::{EventSplitter, split_last_event, without_bom};

use crate::dialect::{Dialect, EventKind};

/// The longest event that is held until it is whole. A token takes a few hundred bytes, with all
/// log-probabilities some 10 KiB; an image may take megabytes.
pub(crate) const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// Splits a stream at the ends of events.
#[derive(Debug)]
pub(crate) struct EventStream {
    dialect: Dialect,
    splitter: EventSplitter,
    /// No event has passed yet: a byte order mark may come.
    at_start: bool,
    last: EventKind,
    /// An event said why the generation ended.
    is_finished: bool,
}

impl EventStream {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            splitter: EventSplitter::new(MAX_EVENT_BYTES),
            at_start: true,
            last: EventKind::None,
            is_finished: false,
        }
    }

    /// Takes bytes from the engine and returns those for the client.
    pub(crate) fn push(&mut self, data: Bytes) -> Bytes {
        let events = self.splitter.push(data);
        if !events.is_empty() {
            let is_first = std::mem::take(&mut self.at_start);
            self.note(if is_first {
                without_bom(&events)
            } else {
                &events
            });
        }
        events
    }

    /// Updates the state with whole events, as if each had arrived alone. Comments mean nothing. An
    /// end stays an end unless an error follows it.
    fn note(&mut self, mut events: &[u8]) {
        self.is_finished = self.is_finished || self.dialect.has_finish_reason(events);
        if self.dialect.is_ordinary(events) {
            if self.last != EventKind::End {
                self.last = EventKind::Other;
            }
            return;
        }
        // Backwards, because the last event decides in nearly every case.
        let mut has_other = false;
        while !events.is_empty() {
            let (before, last) = split_last_event(events);
            match self.dialect.classify(last) {
                EventKind::None => {}
                EventKind::Other => has_other = true,
                EventKind::Error if has_other => {
                    self.last = EventKind::Other;
                    return;
                }
                meaning => {
                    self.last = meaning;
                    return;
                }
            }
            events = before;
        }
        if has_other && self.last != EventKind::End {
            self.last = EventKind::Other;
        }
    }

    /// Whether the stream is complete: the last event ends it or an earlier one says why the
    /// generation ended, and no event is incomplete. An end event counts with its last line break
    /// missing, and with one line break too many. The body must have ended properly, too.
    pub(crate) fn is_over(&self) -> bool {
        let over = |event| self.dialect.is_over(event);
        let held = self.splitter.held();
        let held = if self.at_start {
            without_bom(held)
        } else {
            held
        }
        .trim_ascii();
        (over(self.last) || self.is_finished) && held.is_empty()
            || over(self.dialect.classify(held))
    }

    /// Whether the last event reports an error.
    pub(crate) fn has_failed(&self) -> bool {
        self.last == EventKind::Error
    }

    /// Whether the client has the beginning of an event without its end, so that no event can
    /// follow.
    pub(crate) fn is_mid_event(&self) -> bool {
        self.splitter.is_mid_event()
    }

    /// The API of the stream.
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Takes the held bytes, once the stream is complete.
    pub(crate) fn take_rest(&mut self) -> Bytes {
        self.splitter.take_held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    fn stream() -> EventStream {
        EventStream::new(Dialect::Completions)
    }

    #[test]
    fn a_stream_is_complete_after_its_end_event() {
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
            ("\u{feff}data: [DONE]\n\n", true),
            ("\u{feff}data: [DONE]", true),
        ] {
            let mut events = stream();
            let whole = text.rfind("\n\n").map_or(0, |end| end + 2);
            let whole = if text.contains("\r\n") {
                text.len()
            } else {
                whole
            };
            assert_eq!(events.push(Bytes::from(text)), text[..whole]);
            assert_eq!(events.is_over(), is_over, "{text:?}");
        }
    }

    // spec: PATH-46
    #[test]
    fn completeness_does_not_depend_on_the_reads() {
        for (text, is_over) in [
            ("data: [DONE]\n\ndata: {\"x\":1}\n\n", true),
            (
                "data: {\"x\":1}\n\ndata: [DONE]\n\ndata: {\"x\":2}\n\n",
                true,
            ),
            ("data: {\n\ndata: [DONE]\n\n}\n\n", true),
            ("data: [DONE]\n\n\n", true),
            ("data: [DONE]\r\n\r\n\r\n", true),
            ("data: {\"x\":1}\r\rdata: [DONE]\r\r", true),
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
                    events.push(Bytes::copy_from_slice(read));
                }
                assert_eq!(events.is_over(), is_over, "{text:?} in reads of {length}");
            }
        }
    }

    #[test]
    fn half_an_event_is_held_back() {
        let mut events = stream();
        assert_eq!(
            events.push(Bytes::from("data: 1\n\ndata: {\"cho")),
            "data: 1\n\n"
        );
        assert!(!events.splitter.held().is_empty());
        assert_eq!(events.push(Bytes::from("ices\":1}\n")), "");
        assert_eq!(events.push(Bytes::from("\n")), "data: {\"choices\":1}\n\n");
        assert!(events.splitter.held().is_empty());
    }

    // spec: PATH-86
    #[test]
    fn an_event_that_is_too_long_to_be_held_passes_as_it_comes() {
        let mut events = stream();
        let half = Bytes::from(vec![b'x'; MAX_EVENT_BYTES]);
        assert_eq!(events.push(half.clone()), "");
        assert_eq!(events.push(half).len(), 2 * MAX_EVENT_BYTES);
        assert!(events.is_mid_event());
        assert_eq!(events.push(Bytes::from("\n\ndata: [DONE]\n\n")).len(), 16);
        assert!(events.is_over() && !events.is_mid_event());
    }

    // spec: PATH-85
    #[test]
    fn a_finish_reason_makes_a_stream_complete() {
        let chunk = |reason: &str| {
            format!("data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":{reason}}}]}}\n\n")
        };
        let usage = "data: {\"choices\":[],\"usage\":{\"completion_tokens\":3}}\n\n";
        let message = |reason: &str| {
            format!("event: message_delta\ndata: {{\"delta\":{{\"stop_reason\":{reason}}}}}\n\n")
        };
        for (dialect, text, is_over) in [
            (Dialect::Completions, chunk("null"), false),
            (Dialect::Completions, chunk("\"stop\""), true),
            (Dialect::Completions, chunk(" \"length\"") + usage, true),
            (
                Dialect::Completions,
                chunk("\"stop\"") + "data: half",
                false,
            ),
            (
                Dialect::Completions,
                "data: {\"x\":\"\\\"finish_reason\\\":\\\"a\\\"\"}\n\n".to_owned(),
                false,
            ),
            (Dialect::Messages, message("null"), false),
            (Dialect::Messages, message("\"end_turn\""), true),
        ] {
            let mut events = EventStream::new(dialect);
            events.push(Bytes::from(text.clone()));
            assert_eq!(events.is_over(), is_over, "{dialect:?} {text}");
        }
    }

    proptest! {
        /// Whatever the sizes of the reads, the same bytes pass in the same order, and only whole
        /// events before the end.
        // spec: PATH-2
        #[test]
        fn a_stream_passes_byte_for_byte(
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
                let out = stream.push(Bytes::copy_from_slice(now));
                passed.extend_from_slice(&out);
                let ends = [&b"\n\n"[..], b"\n\r\n", b"\n\r"];
                // The LF of a cut CRLF passes alone.
                let cut = passed.ends_with(b"\n\r\n");
                prop_assert!(
                    cut || passed.is_empty() || ends.iter().any(|end| passed.ends_with(end))
                );
                rest = later;
            }
            prop_assert!(stream.splitter.held().trim_ascii().is_empty());
            passed.extend_from_slice(&stream.take_rest());
            prop_assert_eq!(String::from_utf8(passed).unwrap(), text);
        }
    }
}
