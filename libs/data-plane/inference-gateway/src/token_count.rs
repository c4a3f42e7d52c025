//! How many tokens an engine generated: its own count where it reports one, else the pieces of
//! content in its stream.
//!
//! The engine's count is found by its place in a response (`usage_scan`). Pieces of content are
//! found by the few names that matter: within generated text their quotes would be escaped.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::{
    dialect::Dialect,
    token_use::{ReportedUse, TokenUse},
    usage_scan::{Report, events_report, whole_report},
};

/// What a chat adds.
static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""delta":"#));

/// What a text adds.
static TEXT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(r#""text":"#));

/// The tokens of one response.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenCount {
    /// Pieces of content of the stream.
    deltas: u64,
    /// The engine's own count.
    reported_by_engine: Option<u64>,
    /// Tokens that the metrics have already.
    counted: u64,
    /// For the requests of keys.
    reported_use: Option<Box<ReportedUse>>,
}

impl TokenCount {
    /// Finds out what the request uses in all.
    pub(crate) fn count_use(&mut self) {
        self.reported_use = Some(Box::default());
    }

    /// Whole events of a stream passed. Returns whether they contain generated text.
    pub(crate) fn events(&mut self, dialect: Dialect, events: &[u8]) -> bool {
        let deltas = count_deltas(dialect, events);
        self.deltas = self.deltas.saturating_add(deltas);
        if self.needs_report(dialect)
            && let Some(report) = events_report(dialect, events)
        {
            self.reported(dialect, &report);
        }
        deltas > 0
    }

    /// A response that is no stream is complete.
    pub(crate) fn whole(&mut self, dialect: Dialect, response: &[u8]) {
        if self.needs_report(dialect)
            && let Some(report) = whole_report(dialect, response)
        {
            self.reported(dialect, &report);
        }
    }

    /// Of other APIs, only the usage of keys is counted.
    fn needs_report(&self, dialect: Dialect) -> bool {
        self.reported_use.is_some() || !matches!(dialect, Dialect::Plain | Dialect::Ollama)
    }

    fn reported(&mut self, dialect: Dialect, report: &Report) {
        if let Some(count) = engine_count(dialect, report) {
            self.reported_by_engine = Some(count);
        }
        if let Some(reported) = &mut self.reported_use {
            reported.reported(report);
        }
    }

    /// A piece passed of a response that is no stream of events and too large to be read whole.
    pub(crate) fn piece(&mut self, dialect: Dialect, piece: &[u8]) {
        if let Some(reported) = &mut self.reported_use {
            reported.piece(dialect, piece);
        }
    }

    /// Tokens of a running stream that the metrics do not have yet. They have them from now on.
    pub(crate) fn take_running(&mut self) -> u64 {
        let tokens = self.deltas.saturating_sub(self.counted);
        self.counted = self.counted.saturating_add(tokens);
        tokens
    }

    /// Tokens of a complete response that the metrics do not have yet.
    pub(crate) fn rest(&self) -> u64 {
        self.total().saturating_sub(self.counted)
    }

    /// What the request has used, as far as the engine says.
    pub(crate) fn used(&self) -> TokenUse {
        let Some(reported) = &self.reported_use else {
            return TokenUse::default();
        };
        let output = self.reported_by_engine.or(reported.output());
        let output = output.unwrap_or(self.deltas);
        TokenUse {
            input: reported.input(output),
            output,
        }
    }

    /// All tokens of a complete response.
    pub(crate) fn total(&self) -> u64 {
        self.reported_by_engine.unwrap_or(self.deltas)
    }
}

/// The pieces of content in whole events.
fn count_deltas(dialect: Dialect, events: &[u8]) -> u64 {
    let count = |finder: &Finder<'_>| {
        let found = finder.find_iter(events);
        let after = found.map(|at| at.saturating_add(finder.needle().len()));
        let with_content = after.filter(|&at| has_content(events.get(at..).unwrap_or_default()));
        u64::try_from(with_content.count()).unwrap_or(u64::MAX)
    };
    match dialect {
        Dialect::Completions => match count(&DELTA) {
            0 => count(&TEXT),
            deltas => deltas,
        },
        Dialect::Responses | Dialect::Messages => count(&DELTA),
        Dialect::Plain | Dialect::Ollama => 0,
    }
}

/// Whether a value that begins here is content: a text, or an object with a text or a list in a
/// field that is content.
fn has_content(value: &[u8]) -> bool {
    let value = value.trim_ascii_start();
    match value.split_first() {
        Some((b'"', text)) => text.first().is_some_and(|&byte| byte != b'"'),
        Some((b'{', fields)) => has_content_field(fields),
        _ => false,
    }
}

/// Fields of a delta that are no content.
const NOT_CONTENT: [&[u8]; 5] = [
    b"role",
    b"type",
    b"stop_reason",
    b"stop_sequence",
    b"signature",
];

/// Whether one of an object's fields is content. Nearly always the first one is.
fn has_content_field(mut rest: &[u8]) -> bool {
    loop {
        rest = rest.trim_ascii_start();
        rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
        let Some(key_and_more) = rest.strip_prefix(b"\"") else {
            return false;
        };
        let Some((key, after)) = string(key_and_more) else {
            return false;
        };
        let value = after.trim_ascii_start().strip_prefix(b":");
        let value = value.unwrap_or_default().trim_ascii_start();
        let is_content = !NOT_CONTENT.contains(&key);
        rest = match value.split_first() {
            Some((b'"', text)) => match string(text) {
                Some((text, after)) if !is_content || text.is_empty() => after,
                found => return found.is_some(),
            },
            // Tool calls.
            Some((b'[', list)) => return is_content && !list.trim_ascii_start().starts_with(b"]"),
            Some((b'{', _)) | None => return false,
            Some(_) => {
                let end = value.iter().position(|byte| matches!(byte, b',' | b'}'));
                value.get(end.unwrap_or(value.len())..).unwrap_or_default()
            }
        };
    }
}

/// A string whose opening quote is gone, and what follows it.
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0_usize;
    loop {
        let at = memchr::memchr2(b'"', b'\\', text.get(from..)?)?.checked_add(from)?;
        if text.get(at) == Some(&b'"') {
            return Some((text.get(..at)?, text.get(at.checked_add(1)?..)?));
        }
        // The escaped character.
        from = at.checked_add(2)?;
    }
}

/// The engine's own count of generated tokens, where its API has one; the last one, because streams
/// count up.
fn engine_count(dialect: Dialect, report: &Report) -> Option<u64> {
    match dialect {
        Dialect::Completions | Dialect::Responses | Dialect::Messages => {
            report.output.or(report.predicted).map(u64::from)
        }
        Dialect::Plain | Dialect::Ollama => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dialect::{Completions, Messages, Plain, Responses};

    // spec: SEE-21
    #[test]
    fn the_engines_count_is_found_and_generated_text_is_not_mistaken_for_it() {
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
                r#"{"timings":{"predicted_n":7,"predicted_ms":1}}"#,
                Some(7),
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
            (
                Messages,
                "data: {\"usage\":{\"output_tokens\":0}}\n\n\
                 data: {\"usage\":{\"output_tokens\":5}}",
                Some(5),
            ),
            (Plain, r#"{"completion_tokens":5}"#, None),
        ] {
            let report = if text.starts_with("data: ") {
                events_report(dialect, text.as_bytes())
            } else {
                whole_report(dialect, text.as_bytes())
            };
            let count = report.and_then(|report| engine_count(dialect, &report));
            assert_eq!(count, expected, "{text}");
        }
    }

    // spec: SEE-40, PATH-87
    #[test]
    fn only_content_is_counted() {
        for (dialect, text, expected) in [
            (
                Completions,
                r#"{"choices":[{"delta":{"content":" one"}}]}"#,
                1,
            ),
            (
                Completions,
                r#"{"choices":[{"delta": {"content": " \"one"}}]}"#,
                1,
            ),
            (
                Completions,
                r#"{"delta":{"role":"assistant","content":null},"finish_reason":"stop"}"#,
                0,
            ),
            (
                Completions,
                r#"{"delta":{"role":"assistant","content":""},"model":"m"}"#,
                0,
            ),
            (
                Completions,
                r#"{"delta":{"role":"assistant","content":"a"}}"#,
                1,
            ),
            (
                Completions,
                r#"{"delta":{"content":null,"reasoning_content":"hm"}}"#,
                1,
            ),
            (Completions, r#"{"delta":{"tool_calls":[{"index":0}]}}"#, 1),
            (Completions, r#"{"delta":{"tool_calls":[]}}"#, 0),
            (Completions, r#"{"delta":{},"finish_reason":"length"}"#, 0),
            (
                Completions,
                r#"{"choices":[],"usage":{"total_tokens":3}}"#,
                0,
            ),
            (Completions, "[DONE]", 0),
            (Completions, r#"{"choices":[{"text":" one"}]}"#, 1),
            (
                Completions,
                r#"{"choices":[{"text":"","finish_reason":"stop"}]}"#,
                0,
            ),
            (
                Responses,
                r#"{"type":"response.output_text.delta","delta":" one"}"#,
                1,
            ),
            (
                Responses,
                r#"{"type":"response.output_text.done","text":" one"}"#,
                0,
            ),
            (
                Messages,
                r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":" one"}}"#,
                1,
            ),
            (
                Messages,
                r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null}}"#,
                0,
            ),
            (Plain, r#"{"delta":{"content":"a"}}"#, 0),
            (Completions, r#"{"delta":{"content":"a"#, 0),
            (Completions, r#"{"delta":{"content":"\"#, 0),
        ] {
            let found = count_deltas(dialect, format!("data: {text}\n\n").as_bytes());
            assert_eq!(found, expected, "{text}");
        }
        let two = b"data: {\"delta\":{\"content\":\"a\"}}\n\n".repeat(2);
        assert_eq!(count_deltas(Completions, &two), 2);
    }

    // spec: SEE-21, SEE-40
    #[test]
    fn the_engines_count_replaces_the_pieces() {
        let mut tokens = TokenCount::default();
        for _ in 0..10 {
            tokens.events(Completions, b"data: {\"delta\":{\"content\":\"a\"}}\n\n");
        }
        assert_eq!((tokens.take_running(), tokens.take_running()), (10, 0));
        assert_eq!((tokens.rest(), tokens.total()), (0, 10));
        let usage = b"data: {\"usage\":{\"completion_tokens\":12}}\n\n";
        tokens.events(Completions, usage);
        assert_eq!((tokens.rest(), tokens.total()), (2, 12));
    }
}
