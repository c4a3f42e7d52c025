//! No line of a document is over 100 columns, except where it cannot be broken.

use super::text::{Document, Line};

/// The most columns of a line of text.
const COLUMNS: usize = 100;

/// All lines that are too long. Tables, single words (such as links), code and generated documents
/// may be longer.
pub(super) fn problems(document: &Document) -> Vec<String> {
    if document.is_generated() {
        return Vec::new();
    }
    document
        .lines()
        .filter_map(|line| match line {
            Line::Text(number, text) if is_too_long(text) => {
                let columns = text.chars().count();
                Some(format!(
                    "{}: {columns} columns, of {COLUMNS} at most",
                    document.at(number)
                ))
            }
            _ => None,
        })
        .collect()
}

fn is_too_long(text: &str) -> bool {
    let is_table = text.trim_start().starts_with('|');
    let words = text
        .split_whitespace()
        .filter(|word| !matches!(*word, "-" | "*"));
    text.chars().count() > COLUMNS && !is_table && words.count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PACK-13
    #[test]
    fn long_lines_are_told() {
        let words = "word ".repeat(21);
        let link = format!("- [x](https://{})", "x".repeat(100));
        for (text, expected) in [
            (words.trim().to_owned(), 1),
            (words[..100].to_owned(), 0),
            (format!("| {words} |"), 0),
            (link, 0),
            (format!("```sh\n{words}\n```"), 0),
            (format!("<!-- Written by `x` -->\n{words}"), 0),
            ("é".repeat(50) + &" é".repeat(25), 0),
        ] {
            let document = Document::new("a.md", text.clone());
            assert_eq!(problems(&document).len(), expected, "{text}");
        }
    }
}
