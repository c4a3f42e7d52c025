//! Width: no line of Rust or Markdown is longer than 100 columns.
//!
//! Exceptions, because the line cannot be broken:
//! - Rust: a line with a part of a raw string, and a line whose long part is one word;
//! - Markdown: the row of a table, a line of a code block with commands or recorded output (`sh`,
//!   `text`, `console`), and a line whose long part is one word (a link is one word).
//!
//! The long part is what remains after indentation and the marks of a comment, list or quote.

use crate::{rust_text::RustText, source_files::SourceFile};

/// The columns of a line, as in `rustfmt.toml`.
const WIDTH: usize = 100;

/// The languages of code blocks with commands to copy, or with the output of a program.
const VERBATIM: [&str; 3] = ["sh", "text", "console"];

pub(crate) fn problems(source: &SourceFile) -> Vec<String> {
    let too_long = match source.extension() {
        "rs" => in_rust(&source.text),
        "md" => in_markdown(&source.text),
        _ => Vec::new(),
    };
    let problem = |(number, columns)| {
        format!(
            "{}:{number}: {columns} columns, more than {WIDTH}",
            source.path.display()
        )
    };
    too_long.into_iter().map(problem).collect()
}

/// The lines that are too long: their numbers and widths.
fn in_rust(text: &str) -> Vec<(usize, usize)> {
    let long: Vec<_> = long_lines(text)
        .filter(|(_, line)| !is_one_word(line))
        .collect();
    if long.is_empty() {
        return Vec::new();
    }
    let raw = RustText::parse(text).raw_string_lines;
    long.into_iter()
        .filter(|(number, _)| !raw.contains(number))
        .map(|(number, line)| (number, columns(line)))
        .collect()
}

fn in_markdown(text: &str) -> Vec<(usize, usize)> {
    let verbatim = verbatim_lines(text);
    long_lines(text)
        .filter(|(number, line)| {
            !line.trim_start().starts_with('|')
                && !verbatim.contains(number)
                && !is_one_word(&joined_links(line))
        })
        .map(|(number, line)| (number, columns(line)))
        .collect()
}

fn long_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| columns(line) > WIDTH)
}

fn columns(line: &str) -> usize {
    line.chars().count()
}

/// The numbers of the lines of code blocks that are shown as they are.
fn verbatim_lines(text: &str) -> Vec<usize> {
    let mut language = None;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(after_fence) = line.trim_start().strip_prefix("```") {
            language = match language {
                None => Some(after_fence.trim()),
                Some(_) => None,
            };
        } else if language.is_some_and(|language| VERBATIM.contains(&language)) {
            lines.push(number);
        }
    }
    lines
}

/// Whether all that follows the marks at the line's beginning is one word, so that there is no
/// place for a line break.
fn is_one_word(line: &str) -> bool {
    let is_mark = |word: &&str| {
        let digits = word.trim_end_matches('.');
        matches!(*word, "-" | "*" | ">" | "//" | "///" | "//!")
            || (digits.len() < word.len() && digits.chars().all(|c| c.is_ascii_digit()))
    };
    line.split_whitespace().skip_while(is_mark).count() <= 1
}

/// The line with each `[text](target)` turned into one word.
fn joined_links(line: &str) -> String {
    let mut joined = String::new();
    let mut depth = 0_usize;
    for c in line.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        joined.push(if c == ' ' && depth > 0 { '_' } else { c });
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(path: &str, text: &str) -> usize {
        problems(&SourceFile {
            path: path.into(),
            text: text.to_owned(),
        })
        .len()
    }

    /// Text of so many columns, in words.
    fn sentence(columns: usize) -> String {
        "é ".repeat(columns).chars().take(columns).collect()
    }

    // spec: PACK-14
    #[test]
    fn a_line_has_at_most_100_columns() {
        for path in ["a.rs", "a.md"] {
            assert_eq!(long(path, &sentence(99)), 0);
            assert_eq!(long(path, &format!("{}x", sentence(100))), 1);
            assert_eq!(long(path, &format!("ok\n  {}", sentence(101))), 1);
        }
        assert_eq!(long("a.toml", &sentence(200)), 0);
    }

    // spec: PACK-14
    #[test]
    fn what_cannot_be_broken_may_be_longer() {
        let word = "x".repeat(120);
        let words = sentence(120);
        for (path, line) in [
            ("a.rs", format!("    \"{word}\",")),
            ("a.rs", format!("/// {word}")),
            ("a.rs", format!("let a = r#\"{words}\"#;")),
            ("a.rs", format!("let a = r\"\n{words}\n\";")),
            ("a.md", format!("| {words} |")),
            ("a.md", format!("- [{words}]({word}).")),
            ("a.md", format!("1. https://{word}")),
            ("a.md", format!("```text\n{words}\n```")),
            ("a.md", format!("```sh\n{words}\n```")),
        ] {
            assert_eq!(long(path, &line), 0, "{line}");
        }
        for (path, line) in [
            ("a.rs", format!("let a = \"{words}\";")),
            ("a.rs", format!("let a = {word};")),
            ("a.md", format!("See [{words}]({word}).")),
            ("a.md", format!("```text\n```\n{words}x")),
            ("a.md", format!("```toml\n{words}\n```")),
        ] {
            assert_eq!(long(path, &line), 1, "{line}");
        }
    }
}
