//! Texts for people from other programs: limited in length, and unable to forge a line or to
//! control a terminal.
//!
//! No decision depends on such a text, so one that is too long or holds control characters is
//! cleaned, not refused.

use crate::limits::MAX_TEXT_BYTES;

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

/// Cleans a descriptive text of a message.
pub(crate) fn clean(text: &mut String) {
    if text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) {
        *text = one_line(text, MAX_TEXT_BYTES);
    }
}

/// Cleans a descriptive text that may be absent.
pub(crate) fn clean_some(text: &mut Option<String>) {
    if let Some(text) = text {
        clean(text);
    }
}

/// Cleans an error of an engine or a device, whose lines stay.
pub(crate) fn clean_error(text: &mut Option<String>, max_bytes: usize) {
    if let Some(text) = text
        && (text.len() > max_bytes || text.chars().any(char::is_control))
    {
        *text = lines(text, max_bytes);
    }
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

    proptest! {
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
