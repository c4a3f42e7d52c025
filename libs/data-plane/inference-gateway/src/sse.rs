//! Server-sent events on their way through: pass whole events on, notice how the stream ends.
//!
//! An incomplete event is of no use to a client, and would spoil the error event that has to follow when the
//! stream breaks in the middle of it. So what comes after the last event's end waits for its rest. Engines
//! write whole events, so that nothing waits in practice.

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use pool_registry_types::{ErrorCode, OpenAiError};
use thiserror::Error;

/// The longest event. A token is a few hundred bytes; one with all log-probabilities some 10 KiB.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// How OpenAI's completions streams end.
const DONE: &[u8] = b"[DONE]";

/// The engine sent an event that is longer than any engine's.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the engine sent an event of more than {MAX_EVENT_BYTES} bytes")]
pub(crate) struct TooLong;

/// Cuts a stream at the ends of events.
#[derive(Debug, Default)]
pub(crate) struct EventStream {
    /// The beginning of an event whose end has not come.
    held: BytesMut,
    last: LastEvent,
}

/// What the last whole event was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum LastEvent {
    /// There was none.
    #[default]
    None,
    /// The stream's regular end, `data: [DONE]`.
    Done,
    /// The engine's own report of an error.
    Error,
    /// Anything else.
    Other,
}

impl EventStream {
    /// Takes what came and gives back what may go on: everything up to the end of the last whole event.
    pub(crate) fn push(&mut self, data: Bytes) -> Result<Bytes, TooLong> {
        let data = if self.held.is_empty() {
            data
        } else {
            self.held.extend_from_slice(&data);
            std::mem::take(&mut self.held).freeze()
        };
        let end = end_of_last_event(&data);
        if data.len() - end > MAX_EVENT_BYTES {
            return Err(TooLong);
        }
        if end < data.len() {
            self.held.extend_from_slice(&data[end..]);
        }
        if end > 0 {
            self.last = classify(&data[..end]);
        }
        Ok(data.slice(..end))
    }

    /// What the last whole event was.
    pub(crate) fn last(&self) -> LastEvent {
        self.last
    }

    /// Whether the stream stands in the middle of an event.
    pub(crate) fn is_partial(&self) -> bool {
        !self.held.is_empty()
    }

    /// Gives up what waits for its rest: the stream has ended properly without it.
    pub(crate) fn take_rest(&mut self) -> Bytes {
        std::mem::take(&mut self.held).freeze()
    }
}

/// The place after the last blank line, which is what ends an event (HTML standard, 9.2.6).
fn end_of_last_event(data: &[u8]) -> usize {
    if data.ends_with(b"\n\n") {
        return data.len();
    }
    let after = |pattern: &[u8]| memmem::rfind(data, pattern).map_or(0, |at| at + pattern.len());
    after(b"\n\n").max(after(b"\n\r\n"))
}

/// What the last of the whole events in `events` is.
fn classify(events: &[u8]) -> LastEvent {
    let events = events.trim_ascii_end();
    let start = memmem::rfind(events, b"\n\n")
        .max(memmem::rfind(events, b"\n\r\n"))
        .unwrap_or(0);
    let event = events[start..].trim_ascii_start();
    let data = event.strip_prefix(b"data:").map(<[u8]>::trim_ascii_start);
    match data {
        Some(DONE) => LastEvent::Done,
        Some(data) if data.starts_with(br#"{"error""#) => LastEvent::Error,
        _ if event.starts_with(b"event: error") || event.starts_with(b"error:") => LastEvent::Error,
        _ => LastEvent::Other,
    }
}

/// A whole event that tells the client why its stream ends here.
pub(crate) fn error_event(code: ErrorCode, message: &str) -> Bytes {
    let json = serde_json::to_string(&OpenAiError::new(code, message, None)).unwrap_or_default();
    Bytes::from(format!("data: {json}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn tells_how_a_stream_ended() {
        for (text, last) in [
            ("", LastEvent::None),
            ("data: {\"x\":1}\n\n", LastEvent::Other),
            ("data: {\"x\":1}\n\ndata: [DONE]\n\n", LastEvent::Done),
            ("data: {\"x\":1}\r\n\r\ndata: [DONE]\r\n\r\n", LastEvent::Done),
            ("data:[DONE]\n\n", LastEvent::Done),
            ("data: {\"content\":\"[DONE]\"}\n\n", LastEvent::Other),
            (
                "data: [DONE]\n\ndata: {\"error\":{\"code\":500}}\n\n",
                LastEvent::Error,
            ),
            ("event: error\ndata: {}\n\n", LastEvent::Error),
            (":\n\n", LastEvent::Other),
        ] {
            let mut events = EventStream::default();
            assert_eq!(events.push(Bytes::from(text)).unwrap(), text);
            assert_eq!(events.last(), last, "{text:?}");
            assert!(!events.is_partial());
        }
    }

    #[test]
    fn half_an_event_waits_for_its_rest() {
        let mut events = EventStream::default();
        assert_eq!(
            events.push(Bytes::from("data: 1\n\ndata: {\"cho")).unwrap(),
            "data: 1\n\n"
        );
        assert!(events.is_partial());
        assert_eq!(events.push(Bytes::from("ices\":1}\n")).unwrap(), "");
        assert_eq!(
            events.push(Bytes::from("\n")).unwrap(),
            "data: {\"choices\":1}\n\n"
        );
        assert!(!events.is_partial());
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut events = EventStream::default();
        let half = Bytes::from(vec![b'x'; MAX_EVENT_BYTES]);
        assert_eq!(events.push(half.clone()).unwrap(), "");
        assert_eq!(events.push(half), Err(TooLong));
    }

    #[test]
    fn an_error_event_is_whole() {
        let event = error_event(ErrorCode::WorkerReset, "the engine \"broke\"\n\noff");
        let text = std::str::from_utf8(&event).unwrap();
        let json: serde_json::Value = serde_json::from_str(text.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(json["error"]["code"], "WORKER_RESET");
        assert_eq!(text.matches("\n\n").count(), 1);
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
            let mut stream = EventStream::default();
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
            prop_assert!(!stream.is_partial());
        }
    }
}
