//! The tokens of Rust that matter for paths, and the items that they form.

use crate::rust_text::RustText;

/// A token of code without comments and literals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    /// `::`
    PathSeparator,
    Punctuation(char),
}

impl Token {
    pub(super) fn is(&self, punctuation: char) -> bool {
        *self == Self::Punctuation(punctuation)
    }

    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// The tokens of a file without the items under `#[cfg(test)]`.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    without_tests(&split(&RustText::parse(source).code))
}

fn split(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = code.chars().peekable();
    while let Some(c) = rest.next() {
        if c.is_alphanumeric() || c == '_' {
            let mut word = String::from(c);
            while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                word.push(c);
            }
            tokens.push(Token::Word(word));
        } else if c == ':' && rest.next_if_eq(&':').is_some() {
            tokens.push(Token::PathSeparator);
        } else if !c.is_whitespace() {
            tokens.push(Token::Punctuation(c));
        }
    }
    tokens
}

fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let marker = split("#[cfg(test)]");
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some(token) = rest.first() {
        if rest.starts_with(&marker) {
            rest = after_item(&rest[marker.len()..]);
        } else {
            kept.push(token.clone());
            rest = &rest[1..];
        }
    }
    kept
}

/// Words that begin an item other than a field or a variant.
const ITEM_KEYWORDS: [&str; 12] = [
    "const",
    "enum",
    "fn",
    "impl",
    "let",
    "macro_rules",
    "mod",
    "static",
    "struct",
    "trait",
    "type",
    "use",
];

/// What follows the item at the beginning: it ends with its block or `;`, a field with `,`.
fn after_item(tokens: &[Token]) -> &[Token] {
    let (mut depth, mut is_field) = (0_usize, true);
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Word(word) if depth == 0 && ITEM_KEYWORDS.contains(&word.as_str()) => {
                is_field = false;
            }
            Token::Punctuation(',') if depth == 0 && is_field => return &tokens[index + 1..],
            Token::Punctuation('{' | '(' | '[') => depth += 1,
            Token::Punctuation('}' | ')' | ']') => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token.is('}') {
                    return &tokens[index + 1..];
                }
            }
            Token::Punctuation(';') if depth == 0 => return &tokens[index + 1..],
            _ => {}
        }
    }
    &[]
}

/// A leaf of a `use` declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Import {
    /// The path as it is written, without a final `self`.
    pub(super) path: Vec<String>,
    /// The name that it brings in; none for `*`.
    pub(super) name: Option<String>,
}

/// The leaves of a `use` declaration, and how many tokens it has. `tokens` begin after `use`.
pub(super) fn imports(tokens: &[Token]) -> (Vec<Import>, usize) {
    let length = tokens
        .iter()
        .position(|token| token.is(';'))
        .unwrap_or(tokens.len());
    let mut leaves = Vec::new();
    use_tree(&tokens[..length], &[], &mut leaves);
    (leaves, length)
}

fn use_tree(tokens: &[Token], prefix: &[String], leaves: &mut Vec<Import>) {
    let mut path = prefix.to_vec();
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        match first {
            Token::PathSeparator => {}
            Token::Word(word) if word == "as" => {
                let name = after.first().and_then(Token::word).map(str::to_owned);
                leaves.push(Import { path, name });
                return;
            }
            Token::Word(word) if word == "self" && !path.is_empty() => {}
            Token::Word(word) => path.push(word.clone()),
            Token::Punctuation('*') => {
                leaves.push(Import { path, name: None });
                return;
            }
            Token::Punctuation('{') => {
                for branch in branches(after) {
                    use_tree(branch, &path, leaves);
                }
                return;
            }
            Token::Punctuation(_) => {}
        }
        rest = after;
    }
    if let Some(name) = path.last().cloned() {
        leaves.push(Import {
            path,
            name: Some(name),
        });
    }
}

/// The parts between commas up to the closing brace.
fn branches(tokens: &[Token]) -> Vec<&[Token]> {
    let mut branches = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Punctuation('{') => depth += 1,
            Token::Punctuation('}') if depth == 0 => {
                branches.push(&tokens[start..index]);
                break;
            }
            Token::Punctuation('}') => depth -= 1,
            Token::Punctuation(',') if depth == 0 => {
                branches.push(&tokens[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    branches.retain(|branch| !branch.is_empty());
    branches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> String {
        tokens(source)
            .iter()
            .filter_map(Token::word)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn items_of_tests_are_left_out() {
        let source = "a; #[cfg(test)] mod tests { fn x() { y() } } b; #[cfg(test)] use c::{d, e}; \
                      #[cfg(test)] #[derive(F)] struct G; h; #[cfg(test)] fn j<K, L>() {} m { \
                      #[cfg(test)] n: O, p: Q } #[cfg(not(test))] i";
        assert_eq!(words(source), "a b h m p Q cfg not test i");
    }

    #[test]
    fn a_use_declaration_has_leaves() {
        let leaves = |source: &str| {
            let (leaves, _) = imports(&tokens(source));
            leaves
                .into_iter()
                .map(|Import { path, name }| {
                    format!("{} as {}", path.join("::"), name.as_deref().unwrap_or("*"))
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(
            leaves("crate::{a::{self, B as C}, d::*, e}; f"),
            [
                "crate::a as a",
                "crate::a::B as C",
                "crate::d as *",
                "crate::e as e"
            ]
        );
        assert_eq!(leaves("self::a; b"), ["self::a as a"]);
    }
}
