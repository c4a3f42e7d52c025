//! How many tokens an engine generated: its own count where it reports one, else the parts of text
//! in its stream.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::sync::LazyLock;

use memchr::memmem;

use crate::dialect::Dialect;

/// The tokens of one response.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TokenCount {
    /// Parts of text in the stream.
    deltas: u64,
    /// The engine's own count.
    reported_by_engine: Option<u64>,
    /// Tokens that the metrics have already.
    counted: u64,
}

impl TokenCount {
    /// Whole events of a stream passed. Returns whether they contain generated text.
    pub(crate) fn events(&mut self, dialect: Dialect, events: &[u8]) -> bool {
        let deltas = count_deltas(dialect, events);
        self.deltas = self.deltas.saturating_add(deltas);
        if let Some(count) = engine_count(dialect, events) {
            self.reported_by_engine = Some(count);
        }
        deltas > 0
    }

    /// A response that is no stream is complete.
    pub(crate) fn whole(&mut self, dialect: Dialect, response: &[u8]) {
        self.reported_by_engine = engine_count(dialect, response);
    }

    /// Tokens of a running stream that the metrics do not have yet. They have them from now on.
    pub(crate) fn take_running(&mut self) -> u64 {
        let tokens = self.deltas.saturating_sub(self.counted);
        self.counted = self.counted.saturating_add(tokens);
        tokens
    }

    /// Tokens of a complete response that the metrics do not have yet.
    pub(crate) fn rest(&self) -> u64 {
        self.reported_by_engine
            .unwrap_or(self.deltas)
            .saturating_sub(self.counted)
    }

    /// All tokens of a complete response.
    pub(crate) fn total(&self) -> u64 {
        self.counted.saturating_add(self.rest())
    }
}

/// The parts of generated text in whole events. Comments, the role, the usage and the end are none.
fn count_deltas(dialect: Dialect, events: &[u8]) -> u64 {
    /// The keys of generated text: an event of a chat has one of them, and mostly the first.
    static TEXTS: LazyLock<[memmem::Finder<'static>; 4]> = LazyLock::new(|| {
        // Also `reasoning_content`.
        let keys = [
            r#"content":"#,
            r#""text":"#,
            r#""arguments":"#,
            r#""reasoning":"#,
        ];
        keys.map(memmem::Finder::new)
    });
    static MESSAGE: LazyLock<memmem::Finder<'static>> =
        LazyLock::new(|| memmem::Finder::new(r#""content_block_delta""#));
    static RESPONSE: LazyLock<memmem::Finder<'static>> =
        LazyLock::new(|| memmem::Finder::new(r#".delta""#));

    let count = match dialect {
        Dialect::Messages => MESSAGE.find_iter(events).count(),
        Dialect::Responses => RESPONSE.find_iter(events).count(),
        Dialect::Completions | Dialect::Plain => TEXTS
            .iter()
            .map(|key| {
                let values = key.find_iter(events).filter(|at| {
                    let value = events.get(at.saturating_add(key.needle().len())..);
                    let value = value.unwrap_or_default().trim_ascii_start();
                    value.starts_with(b"\"") && !value.starts_with(b"\"\"")
                });
                values.count()
            })
            .find(|count| *count > 0)
            .unwrap_or_default(),
    };
    u64::try_from(count).unwrap_or(u64::MAX)
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

    // spec: SEE-21, PATH-87
    #[test]
    fn only_generated_text_is_counted() {
        use Dialect::{Completions, Messages, Plain, Responses};
        for (dialect, events, expected) in [
            (Completions, "data: {\"delta\":{\"content\":\"a\"}}\n\n", 1),
            (
                Completions,
                "data: {\"delta\":{\"content\": \"a\"}}\r\n\r\n",
                1,
            ),
            (
                Completions,
                "data: {\"delta\":{\"reasoning_content\":\"a\"}}\n\n",
                1,
            ),
            (Completions, "data: {\"choices\":[{\"text\":\"a\"}]}\n\n", 1),
            (
                Completions,
                "data: {\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}\n\n",
                0,
            ),
            (Completions, "data: {\"delta\":{\"content\":null}}\n\n", 0),
            (
                Completions,
                "data: {\"content\":\"a\"}\n\ndata: {\"content\":\"b\"}\n\ndata: [DONE]\n\n",
                2,
            ),
            (Completions, ": ping\n", 0),
            (Completions, "retry: 1\nid: 7\n\n", 0),
            (
                Completions,
                "data: {\"usage\":{\"completion_tokens\":8}}\n\n",
                0,
            ),
            (Plain, "data: {\"content\":\"a\"}\n\n", 1),
            (
                Messages,
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\n",
                1,
            ),
            (Messages, "event: ping\ndata: {\"type\":\"ping\"}\n\n", 0),
            (
                Responses,
                "event: response.output_text.delta\n\
                 data: {\"type\":\"response.output_text.delta\"}\n\n",
                1,
            ),
            (Responses, "data: {\"type\":\"response.created\"}\n\n", 0),
        ] {
            let count = count_deltas(dialect, events.as_bytes());
            assert_eq!(count, expected, "{dialect:?} {events}");
        }
    }

    // spec: SEE-21
    #[test]
    fn the_engines_count_replaces_the_parts() {
        let mut tokens = TokenCount::default();
        for _ in 0..7 {
            tokens.events(Dialect::Completions, b"data: {\"content\":\"a\"}\n\n");
        }
        assert_eq!(tokens.take_running(), 7);
        assert_eq!(tokens.take_running(), 0);
        assert_eq!((tokens.rest(), tokens.total()), (0, 7));
        let usage = b"data: {\"usage\":{\"completion_tokens\":8}}\n\n";
        tokens.events(Dialect::Completions, usage);
        assert_eq!((tokens.rest(), tokens.total()), (1, 8));
    }
}
