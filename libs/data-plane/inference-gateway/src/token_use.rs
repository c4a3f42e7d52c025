//! How many tokens a request of a key has used: what its engine says of the tokens that it read and
//! generated, in every API.
//!
//! The numbers are found by their place in a response (`usage_scan`).

// Engines choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use crate::{
    dialect::Dialect,
    usage_scan::{Report, UsageScan},
};

/// What a request has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TokenUse {
    /// Tokens of the prompt, those included that the engine had in its cache.
    pub(crate) input: u64,
    /// Generated tokens.
    pub(crate) output: u64,
}

/// What an engine has said so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReportedUse {
    report: Report,
    /// The position in a response that passes in pieces.
    scan: UsageScan,
}

impl ReportedUse {
    /// Whole events, or a whole response, have reported this.
    pub(crate) fn reported(&mut self, report: &Report) {
        self.report.merge(report);
    }

    /// A piece of a response that is cut anywhere.
    pub(crate) fn piece(&mut self, dialect: Dialect, piece: &[u8]) {
        self.scan.piece(dialect, piece, &mut self.report);
    }

    /// Tokens of the prompt. Without any count of it, what all tokens have beside the `output`.
    pub(crate) fn input(&self, output: u64) -> u64 {
        let report = &self.report;
        let number = |count: Option<u32>| count.map(u64::from);
        let fresh = || {
            let cached = [report.cached, report.cache_made].into_iter().flatten();
            let cached = cached.map(u64::from).fold(0, u64::saturating_add);
            number(report.fresh).map(|fresh| fresh.saturating_add(cached))
        };
        let rest = || number(report.total).map(|total| total.saturating_sub(output));
        let prompt = number(report.prompt).or_else(fresh);
        prompt.or_else(rest).unwrap_or_default()
    }

    /// Generated tokens.
    pub(crate) fn output(&self) -> Option<u64> {
        let output = self.report.output.or(self.report.predicted);
        output.map(u64::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage_scan::whole_report;
    use Dialect::{Completions, Messages, Ollama, Plain, Responses};

    // spec: KEY-20
    #[test]
    fn the_prompt_is_counted_in_every_api() {
        for (dialect, text, expected) in [
            (
                Completions,
                r#"{"usage":{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}}"#,
                11,
            ),
            (
                Completions,
                r#"{"timings":{"cache_n":9,"prompt_n":2,"predicted_n":5}}"#,
                11,
            ),
            (
                Completions,
                r#"{"usage":{"prompt_tokens": 12},"timings":{"cache_n":9,"prompt_n":2}}"#,
                12,
            ),
            (Completions, r#"{"content":"\"prompt_tokens\":9"}"#, 0),
            (
                Responses,
                r#"{"usage":{"input_tokens":7,"input_tokens_details":{"cached_tokens":4}}}"#,
                7,
            ),
            (
                Messages,
                r#"{"usage":{"cache_creation_input_tokens":1,"cache_read_input_tokens":2,
                    "input_tokens":4}}"#,
                7,
            ),
            (
                Plain,
                r#"{"usage":{"prompt_tokens":8,"total_tokens":8}}"#,
                8,
            ),
            (Plain, r#"{"usage":{"total_tokens":8}}"#, 8),
            (Plain, r#"{"tokens_evaluated":6,"tokens_predicted":2}"#, 6),
            (Ollama, r#"{"prompt_tokens":8}"#, 0),
        ] {
            let mut found = ReportedUse::default();
            if let Some(report) = whole_report(dialect, text.as_bytes()) {
                found.reported(&report);
            }
            assert_eq!(found.input(0), expected, "{text}");
            // The same from pieces, wherever the text is cut.
            let text = format!("{text}\n");
            for cut in 0..text.len() {
                let mut found = ReportedUse::default();
                found.piece(dialect, &text.as_bytes()[..cut]);
                found.piece(dialect, &text.as_bytes()[cut..]);
                assert_eq!(found.input(0), expected, "{text} cut at {cut}");
            }
        }
        let mut native = ReportedUse::default();
        let text = br#"{"tokens_evaluated":6,"tokens_predicted":2}"#;
        native.reported(&whole_report(Plain, text).unwrap());
        assert_eq!(native.output(), Some(2));
    }
}
