//! How many tokens a request of a key has used: what its engine says of the tokens that it read and
//! generated, in every API.
//!
//! Nothing is parsed: a response is searched for the few names that matter. Within generated text
//! their quotes would be escaped.

// Engines choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::dialect::Dialect;

/// The longest name with its number, and more.
const TAIL_BYTES: usize = 64;

/// What a request has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TokenUse {
    /// Tokens of the prompt, those included that the engine had in its cache.
    pub(crate) input: u64,
    /// Generated tokens.
    pub(crate) output: u64,
}

/// A name, and what its last number is.
struct Name {
    finder: Finder<'static>,
    part: Part,
}

/// Which number of a response a name has.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// All tokens of the prompt.
    Prompt,
    /// Tokens of the prompt that were not in a cache.
    Fresh,
    /// Tokens of the prompt that were in a cache or are there now.
    Cached,
    CacheMade,
    Output,
    /// All tokens.
    Total,
}

fn names(names: &[(&'static str, Part)]) -> Vec<Name> {
    let names = names.iter().map(|&(name, part)| Name {
        finder: Finder::new(name),
        part,
    });
    names.collect()
}

/// OpenAI's completions, and the timings of llama-server.
static COMPLETIONS: LazyLock<Vec<Name>> = LazyLock::new(|| {
    names(&[
        (r#""prompt_tokens":"#, Part::Prompt),
        (r#""prompt_n":"#, Part::Fresh),
        (r#""cache_n":"#, Part::Cached),
    ])
});

/// OpenAI's responses and Anthropic's messages. Only the latter count the cache apart.
static MESSAGES: LazyLock<Vec<Name>> = LazyLock::new(|| {
    names(&[
        (r#""input_tokens":"#, Part::Fresh),
        (r#""cache_read_input_tokens":"#, Part::Cached),
        (r#""cache_creation_input_tokens":"#, Part::CacheMade),
    ])
});

/// Embeddings and the like, and llama-server's own routes.
static PLAIN: LazyLock<Vec<Name>> = LazyLock::new(|| {
    names(&[
        (r#""prompt_tokens":"#, Part::Prompt),
        (r#""tokens_evaluated":"#, Part::Prompt),
        (r#""total_tokens":"#, Part::Total),
        (r#""completion_tokens":"#, Part::Output),
        (r#""tokens_predicted":"#, Part::Output),
    ])
});

/// What an engine has said so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReportedUse {
    prompt: Option<u64>,
    fresh: Option<u64>,
    cached: u64,
    cache_made: u64,
    output: Option<u64>,
    total: Option<u64>,
    /// The end of the last piece.
    tail: Vec<u8>,
}

impl ReportedUse {
    /// Whole events, or a whole response.
    pub(crate) fn whole(&mut self, dialect: Dialect, text: &[u8]) {
        let names = match dialect {
            Dialect::Completions => &*COMPLETIONS,
            Dialect::Responses | Dialect::Messages => &*MESSAGES,
            Dialect::Plain => &*PLAIN,
            Dialect::Ollama => return,
        };
        for name in names {
            let Some(count) = last_number(&name.finder, text) else {
                continue;
            };
            match name.part {
                Part::Prompt => self.prompt = Some(count),
                Part::Fresh => self.fresh = Some(count),
                Part::Cached => self.cached = count,
                Part::CacheMade => self.cache_made = count,
                Part::Output => self.output = Some(count),
                Part::Total => self.total = Some(count),
            }
        }
    }

    /// A piece of a response that is cut anywhere.
    pub(crate) fn piece(&mut self, dialect: Dialect, piece: &[u8]) {
        let mut seam = std::mem::take(&mut self.tail);
        seam.extend_from_slice(piece.get(..TAIL_BYTES).unwrap_or(piece));
        self.whole(dialect, &seam);
        if piece.len() > TAIL_BYTES {
            self.whole(dialect, piece);
            seam.clear();
            seam.extend_from_slice(piece);
        }
        let keep_from = seam.len().saturating_sub(TAIL_BYTES);
        seam.drain(..keep_from);
        self.tail = seam;
    }

    /// Tokens of the prompt. Without any count of it, what all tokens have beside the `output`.
    pub(crate) fn input(&self, output: u64) -> u64 {
        let fresh = || {
            let cached = self.cached.saturating_add(self.cache_made);
            self.fresh.map(|fresh| fresh.saturating_add(cached))
        };
        let rest = || self.total.map(|total| total.saturating_sub(output));
        self.prompt.or_else(fresh).or_else(rest).unwrap_or_default()
    }

    /// Generated tokens, where the API is not one whose streams are counted.
    pub(crate) fn output(&self) -> Option<u64> {
        self.output
    }
}

/// The last number after this name. A count beyond 32 bits is not plausible and is ignored.
pub(crate) fn last_number(name: &Finder<'_>, text: &[u8]) -> Option<u64> {
    let at = name.find_iter(text).last()?;
    let digits = text.get(at.saturating_add(name.needle().len())..)?;
    let digits = digits.trim_ascii_start();
    let end = digits.iter().position(|byte| !byte.is_ascii_digit());
    let digits = digits.get(..end.unwrap_or(digits.len()))?;
    let count: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(u64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;
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
                r#"{"usage":{"prompt_tokens": 11},"timings":{"cache_n":9,"prompt_n":2}}"#,
                11,
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
            found.whole(dialect, text.as_bytes());
            assert_eq!(found.input(0), expected, "{text}");
            // The same from pieces, wherever the text is cut.
            let filler = "x".repeat(2 * TAIL_BYTES);
            let text = format!("{filler}{text}{filler}");
            for cut in 0..text.len() {
                let mut found = ReportedUse::default();
                found.piece(dialect, &text.as_bytes()[..cut]);
                found.piece(dialect, &text.as_bytes()[cut..]);
                assert_eq!(found.input(0), expected, "{text} cut at {cut}");
            }
        }
        let mut native = ReportedUse::default();
        native.whole(Plain, br#"{"tokens_evaluated":6,"tokens_predicted":2}"#);
        assert_eq!(native.output(), Some(2));
    }
}
