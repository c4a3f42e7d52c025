//! How many tokens an engine generated: its own count where it reports one, else the events of its
//! stream.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::sync::LazyLock;

use memchr::memmem;
use sse::EventCounter;

use crate::dialect::Dialect;

/// The most events of a stream that are no tokens: the role, the usage and the end. A running
/// stream leaves so many out of its reports, because the engine's own count may follow.
const NOT_TOKENS: u64 = 3;

/// The tokens of one response.
#[derive(Debug, Default)]
pub(crate) struct TokenCount {
    counter: EventCounter,
    /// Events of the stream.
    events: u64,
    /// The engine's own count.
    reported_by_engine: Option<u64>,
    /// Tokens that the metrics have already.
    counted: u64,
}

impl TokenCount {
    /// Whole events of a stream passed.
    pub(crate) fn events(&mut self, dialect: Dialect, events: &[u8]) {
        self.events = self.events.saturating_add(self.counter.push(events));
        if let Some(count) = engine_count(dialect, events) {
            self.reported_by_engine = Some(count);
        }
    }

    /// A response that is no stream is complete.
    pub(crate) fn whole(&mut self, dialect: Dialect, response: &[u8]) {
        self.reported_by_engine = engine_count(dialect, response);
    }

    /// Tokens of a running stream that the metrics do not have yet. They have them from now on.
    pub(crate) fn take_running(&mut self) -> u64 {
        let tokens = self
            .events
            .saturating_sub(NOT_TOKENS)
            .saturating_sub(self.counted);
        self.counted = self.counted.saturating_add(tokens);
        tokens
    }

    /// Tokens of a complete response that the metrics do not have yet. `has_end` tells whether the
    /// last event of the stream is its end rather than a token.
    pub(crate) fn rest(&self, has_end: bool) -> u64 {
        let tokens = self.events.saturating_sub(has_end.into());
        self.reported_by_engine
            .unwrap_or(tokens)
            .saturating_sub(self.counted)
    }

    /// All tokens of a complete response.
    pub(crate) fn total(&self, has_end: bool) -> u64 {
        self.counted.saturating_add(self.rest(has_end))
    }
}

/// The engine's own count of generated tokens, if `text` holds it. A count beyond 32 bits is not
/// plausible and is ignored.
fn engine_count(dialect: Dialect, text: &[u8]) -> Option<u64> {
    // Within generated text these quotes would be escaped.
    static OPENAI: LazyLock<memmem::Finder<'static>> =
        LazyLock::new(|| memmem::Finder::new(r#""completion_tokens":"#));
    static OTHERS: LazyLock<memmem::Finder<'static>> =
        LazyLock::new(|| memmem::Finder::new(r#""output_tokens":"#));

    let finder = match dialect {
        Dialect::Completions => &*OPENAI,
        Dialect::Responses | Dialect::Messages => &*OTHERS,
        Dialect::Plain => return None,
    };
    let at = finder.find(text)?.saturating_add(finder.needle().len());
    let digits = text.get(at..)?.trim_ascii_start();
    let end = digits
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(digits.len());
    let count: u32 = std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()?;
    Some(count.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SEE-21
    #[test]
    fn the_engines_count_is_found_and_generated_text_is_not_mistaken_for_it() {
        use Dialect::{Completions, Messages, Plain};
        for (dialect, text, expected) in [
            (
                Completions,
                r#"{"usage":{"completion_tokens": 8,"prompt_tokens":3}}"#,
                Some(8),
            ),
            (
                Completions,
                r#"{"usage":{"completion_tokens":12}}"#,
                Some(12),
            ),
            (
                Completions,
                r#"{"content":"\"completion_tokens\":9"}"#,
                None,
            ),
            (Completions, r#"{"usage":null}"#, None),
            (
                Completions,
                r#"{"usage":{"completion_tokens":4294967296}}"#,
                None,
            ),
            (
                Completions,
                r#"{"usage":{"completion_tokens":18446744073709551615}}"#,
                None,
            ),
            (
                Completions,
                r#"{"usage":{"completion_tokens":99999999999999999999999}}"#,
                None,
            ),
            (Messages, r#"{"usage":{"output_tokens":5}}"#, Some(5)),
            (Plain, r#"{"completion_tokens":5}"#, None),
        ] {
            assert_eq!(engine_count(dialect, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn events_are_counted_whatever_their_line_ends_and_reads() {
        for stream in [
            "data: 1\n\ndata: 2\n\ndata: [DONE]\n\n",
            "data: 1\r\n\r\ndata: 2\r\n\r\ndata: [DONE]\r\n\r\n",
            "data: 1\r\rdata: 2\r\rdata: [DONE]\r\r",
        ] {
            for length in 1..=stream.len() {
                let mut tokens = TokenCount::default();
                for read in stream.as_bytes().chunks(length) {
                    tokens.events(Dialect::Completions, read);
                }
                assert_eq!(tokens.total(true), 2, "{stream:?} in reads of {length}");
            }
        }
    }

    // spec: SEE-21
    #[test]
    fn the_engines_count_replaces_the_events() {
        let mut tokens = TokenCount::default();
        for _ in 0..10 {
            tokens.events(Dialect::Completions, b"data: {}\n\n");
        }
        assert_eq!(tokens.take_running(), 7, "the last events may be no tokens");
        assert_eq!(tokens.take_running(), 0);
        assert_eq!((tokens.rest(true), tokens.total(true)), (2, 9));
        let usage = b"data: {\"usage\":{\"completion_tokens\":8}}\n\n";
        tokens.events(Dialect::Completions, usage);
        assert_eq!((tokens.rest(true), tokens.total(true)), (1, 8));
    }
}
