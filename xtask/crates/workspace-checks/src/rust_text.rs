//! The text of a Rust file, split into code, comments and literals as far as the checks need it.

use std::{collections::BTreeSet, iter::Peekable, str::Chars};

/// A Rust file whose comments and literals are blanked.
#[derive(Debug, Default)]
pub(crate) struct RustText {
    /// The source with every comment and the inside of every literal replaced by spaces. Line
    /// breaks are kept, so that line numbers stay the same.
    pub(crate) code: String,
    /// The numbers, from 1, of all lines that hold a part of a raw string.
    pub(crate) raw_string_lines: BTreeSet<usize>,
}

impl RustText {
    pub(crate) fn parse(source: &str) -> Self {
        let mut lexer = Lexer {
            rest: source.chars().peekable(),
            line: 1,
            text: Self::default(),
        };
        lexer.run();
        lexer.text
    }
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
    text: RustText,
}

impl Lexer<'_> {
    fn run(&mut self) {
        let mut previous = ' ';
        while let Some(c) = self.rest.peek().copied() {
            match c {
                '/' if self.starts_with("//") => self.line_comment(),
                '/' if self.starts_with("/*") => self.block_comment(),
                '"' => self.string(),
                '\'' => self.quote(),
                'r' if !is_identifier(previous) => self.raw_string_or_word(),
                // `br"…"` and `cr"…"`: what follows is read as if the prefix were not there.
                'b' | 'c' if !is_identifier(previous) => {
                    self.keep();
                    continue;
                }
                _ => {
                    self.keep();
                }
            }
            previous = c;
        }
    }

    fn starts_with(&self, prefix: &str) -> bool {
        let mut rest = self.rest.clone();
        prefix.chars().all(|c| rest.next() == Some(c))
    }

    /// Passes a character on as code.
    fn keep(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        self.push(c, c);
        Some(c)
    }

    /// Replaces a character by a space.
    fn blank(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        self.push(c, ' ');
        Some(c)
    }

    fn push(&mut self, c: char, shown: char) {
        if c == '\n' {
            self.line += 1;
            self.text.code.push('\n');
        } else {
            self.text.code.push(shown);
        }
    }

    fn line_comment(&mut self) {
        while self.rest.peek().is_some_and(|c| *c != '\n') {
            self.blank();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            if self.starts_with("/*") {
                depth += 1;
                self.blank();
            } else if self.starts_with("*/") {
                depth -= 1;
                self.blank();
            }
            if self.blank().is_none() || depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.keep();
        while let Some(c) = self.rest.peek() {
            match c {
                '"' => {
                    self.keep();
                    return;
                }
                '\\' => {
                    self.blank();
                    self.blank();
                }
                _ => {
                    self.blank();
                }
            }
        }
    }

    /// A character literal, or the quote of a lifetime.
    fn quote(&mut self) {
        self.keep();
        let mut ahead = self.rest.clone();
        let (first, second) = (ahead.next(), ahead.next());
        if first == Some('\\') {
            self.blank();
            self.blank();
            while self.rest.peek().is_some_and(|c| *c != '\'') {
                self.blank();
            }
            self.keep();
        } else if second == Some('\'') {
            self.blank();
            self.keep();
        }
    }

    /// `r"…"`, `r##"…"##`, or a word that begins with r.
    fn raw_string_or_word(&mut self) {
        let mut ahead = self.rest.clone();
        ahead.next();
        let mut hashes = 0;
        while ahead.next_if_eq(&'#').is_some() {
            hashes += 1;
        }
        if ahead.peek() != Some(&'"') {
            self.keep();
            return;
        }
        let end = format!("\"{}", "#".repeat(hashes));
        // The prefix, the hashes and the quote.
        for _ in 0..hashes + 2 {
            self.keep();
        }
        self.text.raw_string_lines.insert(self.line);
        while !self.starts_with(&end) && self.blank().is_some() {
            self.text.raw_string_lines.insert(self.line);
        }
        for _ in 0..=hashes {
            self.keep();
        }
    }
}

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        for (source, code) in [
            ("a // b \"c\nd", "a        \nd"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("g\"h", b"i")"#, r#"f("    ", b" ")"#),
            ("f('a', '\\n', '\\u{1f}')", "f(' ', '  ', '      ')"),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("r#\"a \"b\" // c\"# + \"d\"", "r#\"          \"# + \" \""),
            ("for r in br\"a\\\"", "for r in br\"  \""),
        ] {
            assert_eq!(RustText::parse(source).code, code);
        }
    }

    #[test]
    fn lines_of_raw_strings_are_known() {
        let text = RustText::parse("a\nf(r#\"b\n\nc\"#,\nr\"d\")\ne");
        assert_eq!(
            text.raw_string_lines.into_iter().collect::<Vec<_>>(),
            [2, 3, 4, 5]
        );
    }
}
