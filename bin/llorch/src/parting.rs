//! What is said when Ctrl-C ends a command that leaves something behind.

use std::sync::OnceLock;

static WORD: OnceLock<String> = OnceLock::new();

/// Says this when the command is interrupted. The first word stays.
pub(crate) fn leave(word: String) {
    let _ = WORD.set(word);
}

/// What is to be said.
pub(crate) fn word() -> Option<&'static str> {
    WORD.get().map(String::as_str)
}
