//! A Markdown document as lines: which are text, and which are in a block of code.

use std::path::Path;

/// The mark that begins and ends a block of code.
const FENCE: &str = "```";

/// A document, by its path from the workspace's root.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) path: &'a Path,
    text: &'a str,
}

/// A line of a document, with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Outside of code.
    Text(usize, &'a str),
    /// The beginning of a block of code in this language.
    Begin(usize, &'a str),
    /// Inside a block of code, or its end.
    Code,
}

/// A piece of text outside of blocks of code, with its line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The target of a link.
    Link(usize, String),
    /// Inline code, without its marks.
    Code(usize, String),
}

impl<'a> Document<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text }
    }

    /// The document for messages about line `number`.
    pub(super) fn at(&self, number: usize) -> String {
        format!("{}:{number}", self.path.display())
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut in_code = false;
        (1..).zip(self.text.lines()).map(move |(number, line)| {
            let fence = line.trim_start().strip_prefix(FENCE);
            match (fence, in_code) {
                (Some(language), false) => {
                    in_code = true;
                    Line::Begin(number, language.trim())
                }
                (Some(_), true) => {
                    in_code = false;
                    Line::Code
                }
                (None, true) => Line::Code,
                (None, false) => Line::Text(number, line),
            }
        })
    }

    /// All links and all inline code. Both may continue on the next line of their paragraph.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut paragraph: Vec<(usize, &str)> = Vec::new();
        for line in self.lines() {
            match line {
                Line::Text(number, text) if !text.trim().is_empty() => {
                    paragraph.push((number, text));
                }
                _ => paragraph_pieces(&std::mem::take(&mut paragraph), &mut pieces),
            }
        }
        paragraph_pieces(&paragraph, &mut pieces);
        pieces
    }

    /// The anchors of all headings, as GitHub makes them.
    pub(super) fn anchors(&self) -> Vec<String> {
        let mut anchors: Vec<String> = Vec::new();
        for line in self.lines() {
            let Line::Text(_, text) = line else { continue };
            let heading = text.trim_start_matches('#');
            if heading.len() == text.len() || !heading.starts_with(' ') {
                continue;
            }
            let anchor = anchor(heading.trim());
            let earlier = anchors.iter().filter(|known| **known == anchor).count();
            anchors.push(match earlier {
                0 => anchor,
                times => format!("{anchor}-{times}"),
            });
        }
        anchors
    }
}

fn paragraph_pieces(lines: &[(usize, &str)], pieces: &mut Vec<Piece>) {
    let texts: Vec<&str> = lines.iter().map(|(_, text)| text.trim()).collect();
    let text = texts.join("\n");
    let first = lines.first().map_or(0, |(number, _)| *number);
    let line_at = |offset: usize| {
        first
            + text
                .bytes()
                .take(offset)
                .filter(|byte| *byte == b'\n')
                .count()
    };
    let mut prose = String::new();
    let mut rest = text.as_str();
    while let Some(start) = rest.find('`') {
        let (before, code) = rest.split_at(start);
        let ticks: String = code.chars().take_while(|c| *c == '`').collect();
        let inside = &code[ticks.len()..];
        prose.push_str(before);
        let Some(end) = inside.find(&ticks) else {
            rest = inside;
            continue;
        };
        let line = line_at(text.len() - rest.len() + start);
        pieces.push(Piece::Code(line, inside[..end].replace('\n', " ")));
        // Code in the text of a link keeps its place, so that offsets stay right.
        let whole = ticks.len() * 2 + end;
        prose.extend(
            code[..whole]
                .chars()
                .map(|c| if c == '\n' { '\n' } else { 'x' }),
        );
        rest = &code[whole..];
    }
    prose.push_str(rest);
    let mut line = first;
    let mut pieces_of_prose = prose.split("](");
    line += newlines(pieces_of_prose.next().unwrap_or_default());
    for piece in pieces_of_prose {
        if let Some((target, _)) = piece.split_once(')') {
            pieces.push(Piece::Link(line, target.trim().to_owned()));
        }
        line += newlines(piece);
    }
}

fn newlines(text: &str) -> usize {
    text.matches('\n').count()
}

/// Lower case, without punctuation, spaces as dashes.
fn anchor(heading: &str) -> String {
    let mut text = heading.to_owned();
    // Of a link only its text counts.
    while let Some((before, after)) = text.clone().split_once("](") {
        let rest = after.split_once(')').map_or("", |(_, rest)| rest);
        text = format!("{}{rest}", before.replacen('[', "", 1));
    }
    text.to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_have_the_anchors_of_github() {
        let text = "# Who may come in?\n## `libs/shared`\n## [A](b.md) and B\n## A and B\n\n\
                    ```sh\n# no heading\n```\n#hashtag\n";
        assert_eq!(
            Document::new(Path::new("a.md"), text).anchors(),
            ["who-may-come-in", "libsshared", "a-and-b", "a-and-b-1"]
        );
    }

    #[test]
    fn links_and_code_are_found_across_lines() {
        let text = "See [the\npage](b.md#c) and `x](y`.\n\n- `one\n  two` [z](<>)\n\n\
                    ```\n[no](link)\n```\n";
        assert_eq!(
            Document::new(Path::new("a.md"), text).pieces(),
            [
                Piece::Code(2, "x](y".to_owned()),
                Piece::Link(2, "b.md#c".to_owned()),
                Piece::Code(4, "one two".to_owned()),
                Piece::Link(5, "<>".to_owned()),
            ]
        );
    }

    #[test]
    fn blocks_of_code_are_no_text() {
        let document = Document::new(Path::new("a.md"), "a\n```sh\nb\n```\nc\n");
        assert_eq!(
            document.lines().collect::<Vec<_>>(),
            [
                Line::Text(1, "a"),
                Line::Begin(2, "sh"),
                Line::Code,
                Line::Code,
                Line::Text(5, "c"),
            ]
        );
    }
}
