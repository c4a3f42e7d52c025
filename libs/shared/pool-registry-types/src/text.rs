//! Texts for people from other programs: limited in length, and unable to forge a line or to
//! control a terminal.
//!
//! No decision depends on such a text, so one of a message that is too long or holds control
//! characters is cleaned, not refused. One of a file is refused: its author can correct it.

use std::convert::Infallible;

use crate::{
    invalid::InvalidField,
    limits::{MAX_ERROR_BYTES, MAX_TEXT_BYTES},
    shared_str::{checked_str, shared_str},
};

/// How many characters of a refused value an error repeats.
pub(crate) const MAX_ECHO_CHARS: usize = 40;

/// `text` in one line of at most `max_bytes`. Control characters become spaces, and spaces at its
/// ends are removed.
///
/// ```
/// use pool_registry_types::one_line;
/// assert_eq!(one_line("RTX\t3090\u{1b}[31m\n", 256), "RTX 3090 [31m");
/// ```
#[must_use]
pub fn one_line(text: &str, max_bytes: usize) -> String {
    cleaned(text, max_bytes, char::is_control)
}

/// As [`one_line`], but keeps line breaks, for logs of an engine.
#[must_use]
pub fn lines(text: &str, max_bytes: usize) -> String {
    cleaned(text, max_bytes, |c| c.is_control() && c != '\n')
}

/// A refused value as an error repeats it: at most `max_chars` characters, in quotes, and escaped
/// so that it cannot forge a log line.
///
/// ```
/// use pool_registry_types::quoted;
/// assert_eq!(quoted("a\nb", 40), r#""a\nb""#);
/// assert_eq!(quoted("abcdef", 3), r#""abc"…"#);
/// ```
#[must_use]
pub fn quoted(value: &str, max_chars: usize) -> String {
    let shown: String = value.chars().take(max_chars).collect();
    let more = if shown.len() < value.len() { "…" } else { "" };
    format!("{shown:?}{more}")
}

/// `, not "…"` for the end of an error about a text that should be a URL or a host; empty if the
/// text may have a secret in it. Users and passwords end with `@`, and tokens are in queries; as
/// the text is wrong, no part of it can be told from the others.
#[must_use]
pub fn not_this(value: &str, max_chars: usize) -> String {
    if value.contains(['@', '?', '#', '\\']) {
        return String::new();
    }
    format!(", not {}", quoted(value, max_chars))
}

/// Cut before cleaning, so that the work is limited too: a space is never longer than what it
/// replaces.
fn cleaned(text: &str, max_bytes: usize, is_bad: impl Fn(char) -> bool) -> String {
    let cut = &text[..text.floor_char_boundary(max_bytes)];
    let clean: String = cut
        .chars()
        .map(|c| if is_bad(c) { ' ' } else { c })
        .collect();
    clean.trim().to_owned()
}

shared_str! {
    /// One line for people: a version, a name, a mask. At most [`MAX_TEXT_BYTES`] bytes without
    /// control characters; it may be empty.
    Text, read by |text| Ok::<_, Infallible>(Text::cut(text));
    /// Lines for people: an error of an engine or a device. At most [`MAX_ERROR_BYTES`] bytes
    /// without control characters except line breaks; it may be empty.
    ErrorText, read by |text| Ok::<_, Infallible>(ErrorText::cut(text));
}

checked_str! {
    Text refuses by check_text;
}

impl Text {
    /// A text from an engine, a driver or a peer: what is too long is cut, and control characters
    /// become spaces.
    ///
    /// ```
    /// use pool_registry_types::Text;
    /// assert_eq!(Text::cut("RTX 3090"), "RTX 3090");
    /// assert_eq!(Text::cut("RTX\t3090\n"), "RTX 3090");
    /// ```
    #[must_use]
    pub fn cut(text: &str) -> Self {
        if is_text(text) {
            return Self(text.into());
        }
        Self(one_line(text, MAX_TEXT_BYTES).into())
    }

    /// As [`cut`](Self::cut), but keeps the end of a long text, which names the file of a path.
    #[must_use]
    pub fn cut_start(text: &str) -> Self {
        let from = text.ceil_char_boundary(text.len().saturating_sub(MAX_TEXT_BYTES));
        Self(one_line(&text[from..], MAX_TEXT_BYTES).into())
    }
}

impl Default for Text {
    fn default() -> Self {
        Self("".into())
    }
}

impl ErrorText {
    /// What is too long is cut, and control characters except line breaks become spaces.
    ///
    /// ```
    /// use pool_registry_types::ErrorText;
    /// assert_eq!(ErrorText::cut("no memory\n\u{1b}[31mlayer 3"), "no memory\n [31mlayer 3");
    /// ```
    #[must_use]
    pub fn cut(text: &str) -> Self {
        if text.len() > MAX_ERROR_BYTES || text.chars().any(char::is_control) {
            return Self(lines(text, MAX_ERROR_BYTES).into());
        }
        Self(text.into())
    }
}

fn is_text(text: &str) -> bool {
    text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control)
}

fn check_text(text: &str) -> Result<(), InvalidField> {
    if is_text(text) {
        return Ok(());
    }
    Err(InvalidField::new(
        "text",
        format!(
            "must be at most {MAX_TEXT_BYTES} bytes without control characters, not {}",
            quoted(text, MAX_ECHO_CHARS)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // spec: WIRE-14
    #[test]
    fn control_characters_become_spaces() {
        assert_eq!(
            one_line("a\u{1b}[2J\r\nb\u{9b}31m\u{7f}", 99),
            "a [2J  b 31m"
        );
        assert_eq!(lines("a\u{1b}[2J\r\nb\u{0}", 99), "a [2J \nb");
        assert_eq!(one_line("\n", 99), "");
    }

    // spec: WIRE-48
    #[test]
    fn an_impossible_text_is_refused_with_what_would_be_right() {
        let error = Text::new("a\nb").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"text must be at most 256 bytes without control characters, not "a\nb""#
        );
        assert_eq!(Text::new("").unwrap(), Text::default());
        assert!(Text::new(&"x".repeat(MAX_TEXT_BYTES + 1)).is_err());
        let long = format!("{}/pool-0_r0.json", "ü".repeat(MAX_TEXT_BYTES));
        let end = Text::cut_start(&long);
        assert!(end.ends_with("ü/pool-0_r0.json") && end.len() <= MAX_TEXT_BYTES);
        assert!(serde_json::from_str::<Text>("7").is_err(), "only a string");
    }

    proptest! {
        // spec: WIRE-14, WIRE-48
        #[test]
        fn a_text_is_within_its_bounds_however_it_is_built(
            part in "\\PC*|(?s).{0,40}", times in 1..400_usize,
        ) {
            let text = part.repeat(times.min(20_000 / part.len().max(1) + 1));
            let line = Text::cut(&text);
            prop_assert!(is_text(&line));
            prop_assert_eq!(Text::new(&text).is_ok(), line == *text);
            let lines = ErrorText::cut(&text);
            prop_assert!(lines.len() <= MAX_ERROR_BYTES);
            prop_assert!(lines.chars().all(|c| !c.is_control() || c == '\n'));
            // A message is read in the same way, and what it holds is written as it is.
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(serde_json::from_str::<ErrorText>(&json).unwrap(), lines);
            let read: Text = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(&read, &line);
            let written = serde_json::to_string(&read).unwrap();
            prop_assert_eq!(written, serde_json::to_string(line.as_str()).unwrap());
        }

        // spec: WIRE-14
        #[test]
        fn a_cleaned_text_is_short_clean_and_stable(
            text in "\\PC*|(?s).{0,40}", max in 0_usize..40,
        ) {
            type Clean = fn(&str, usize) -> String;
            for (clean, kept) in [(one_line as Clean, None), (lines, Some('\n'))] {
                let cleaned = clean(&text, max);
                prop_assert!(cleaned.len() <= max);
                prop_assert!(cleaned.chars().all(|c| !c.is_control() || Some(c) == kept));
                prop_assert_eq!(clean(&cleaned, max), cleaned);
            }
        }
    }
}
