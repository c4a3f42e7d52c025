//! Banned words: private names that have a term in the field, and words of hard sentences.
//!
//! The glossary of `.docs/ARCHITECTURE.md` has the terms to use.

use crate::source_files::SourceFile;

/// A banned word in all its forms, and what to write instead.
struct BannedWord {
    forms: &'static [&'static str],
    instead: &'static str,
}

const BANNED: &[BannedWord] = &[
    BannedWord {
        forms: &["aftercare"],
        instead: "abandoned requests",
    },
    BannedWord {
        forms: &["crew", "crews"],
        instead: "supervisor",
    },
    BannedWord {
        forms: &["journey", "journeys"],
        instead: "retry state",
    },
    BannedWord {
        forms: &["mend", "mends", "mended", "mending"],
        instead: "fix, hint, or resolve",
    },
    BannedWord {
        forms: &["newsroom"],
        instead: "event publisher",
    },
    BannedWord {
        forms: &["nobody", "somebody", "whoever"],
        instead: "the subject: the client, the operator, the node, …",
    },
    BannedWord {
        forms: &["patience"],
        instead: "queue timeout, or deadline",
    },
    BannedWord {
        forms: &["patient", "patients", "ward", "wards"],
        instead: "abandoned request, or engine load",
    },
    BannedWord {
        forms: &["shelf", "shelves"],
        instead: "store",
    },
];

/// The file that has the words because it bans them.
const THIS_FILE: &str = "xtask/crates/workspace-checks/src/words.rs";

pub(crate) fn problems(source: &SourceFile) -> Vec<String> {
    if source.path.ends_with(THIS_FILE) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(source.text.lines()) {
        for word in words(line) {
            let banned = BANNED
                .iter()
                .find(|banned| banned.forms.contains(&word.as_str()));
            if let Some(banned) = banned {
                problems.push(format!(
                    "{}:{number}: banned word \"{word}\"; write {}",
                    source.path.display(),
                    banned.instead
                ));
            }
        }
    }
    problems
}

/// The words of a line in lower case. Each part of an identifier is a word:
/// `open_door`, `OpenDoor` and `open-door` are two words each.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower_case = false;
    for c in line.chars() {
        if !c.is_alphabetic() || (c.is_uppercase() && after_lower_case) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphabetic()) {
            word.extend(c.to_lowercase());
        }
        after_lower_case = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        problems(&SourceFile {
            path: "libs/a/README.md".into(),
            text: text.to_owned(),
        })
        .len()
    }

    // spec: PACK-13
    #[test]
    fn a_banned_word_is_found_in_every_form() {
        for text in [
            "Nobody asked.",
            "fn mend_model()",
            "struct TaskShelf;",
            "let x = JOURNEY;",
            "key-patience = 1",
        ] {
            assert_eq!(found(text), 1, "{text}");
        }
        assert_eq!(found("ok\nA journey of\nwhoever"), 2);
    }

    // spec: PACK-13
    #[test]
    fn a_word_that_contains_a_banned_one_is_fine() {
        assert_eq!(found("forward, recommended, impatiently, screwed"), 0);
    }

    #[test]
    fn identifiers_are_split_into_words() {
        assert_eq!(
            words("let retryState = HTTP_Error-2;"),
            ["let", "retry", "state", "http", "error"]
        );
    }
}
