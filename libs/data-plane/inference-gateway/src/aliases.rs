//! Other names for models, from a file that people write.
//!
//! ```toml
//! [aliases]
//! "gpt-4o" = "tiny"
//! ```
//!
//! An alias stands for a model, never for another alias, so one line says what a request means. An
//! alias takes precedence over a model of the same name. All problems of a file are reported
//! together, each with its line. Unknown keys are rejected, because a person wrote them for a
//! purpose.

use std::{collections::BTreeMap, fmt};

use pool_registry_types::one_line;
use thiserror::Error;
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use crate::peek::check_model;

/// The largest alias file in bytes: some ten thousand aliases.
pub const MAX_ALIASES_FILE_BYTES: u64 = 1024 * 1024;

/// The longest text of a problem. It may repeat a name of the file.
const PROBLEM_BYTES: usize = 1024;

/// The one table of the file.
const TABLE: &str = "aliases";

/// Aliases and the models they stand for. Empty by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases(BTreeMap<String, String>);

/// One problem of an alias file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasProblem {
    /// The line, from 1.
    pub line: usize,
    /// The problem.
    pub what: String,
}

/// All problems of an alias file, in the order of the lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Error)]
pub struct AliasProblems(pub Vec<AliasProblem>);

impl fmt::Display for AliasProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, AliasProblem { line, what }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}  line {line}: {what}")?;
        }
        Ok(())
    }
}

impl Aliases {
    /// Parses an alias file.
    ///
    /// # Errors
    /// All problems of the file.
    pub fn parse(text: &str) -> Result<Self, AliasProblems> {
        let (file, errors) = DeTable::parse_recoverable(text);
        let mut problems = ProblemList {
            text,
            at: Vec::new(),
        };
        if !errors.is_empty() {
            // The meaning of a broken line is unknown, so report only the syntax.
            for error in errors {
                problems.add(
                    error.span().map_or(0, |span| span.start),
                    error.message().trim(),
                );
            }
            return Err(problems.in_order());
        }
        let aliases = read_file(file.get_ref(), &mut problems);
        if problems.at.is_empty() {
            Ok(Self(aliases))
        } else {
            Err(problems.in_order())
        }
    }

    /// The model that `name` stands for; `None` when it is not an alias.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All aliases with their models, sorted by alias.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(alias, target)| (alias.as_str(), target.as_str()))
    }
}

/// Problems with their offsets in the text.
struct ProblemList<'a> {
    text: &'a str,
    at: Vec<(usize, String)>,
}

impl ProblemList<'_> {
    fn add(&mut self, offset: usize, what: impl Into<String>) {
        self.at
            .push((offset, one_line(&what.into(), PROBLEM_BYTES)));
    }

    fn in_order(mut self) -> AliasProblems {
        self.at.sort();
        let line = |offset| {
            1 + self
                .text
                .bytes()
                .take(offset)
                .filter(|&byte| byte == b'\n')
                .count()
        };
        let problems = self.at.iter().map(|(offset, what)| AliasProblem {
            line: line(*offset),
            what: what.clone(),
        });
        AliasProblems(problems.collect())
    }
}

fn read_file(file: &DeTable<'_>, problems: &mut ProblemList<'_>) -> BTreeMap<String, String> {
    for (key, _) in file.iter().filter(|(key, _)| key.get_ref() != TABLE) {
        let what = format!(
            "unknown key `{}`: an alias file holds [{TABLE}]",
            key.get_ref()
        );
        problems.add(key.span().start, what);
    }
    match file.get(TABLE).map(|value| (value.span(), value.get_ref())) {
        Some((_, DeValue::Table(table))) => read_aliases(table, problems),
        Some((span, _)) => {
            problems.add(
                span.start,
                format!("`{TABLE}` must be a table: write [{TABLE}]"),
            );
            BTreeMap::new()
        }
        None => {
            problems.add(0, format!("no [{TABLE}] in it"));
            BTreeMap::new()
        }
    }
}

fn read_aliases(table: &DeTable<'_>, problems: &mut ProblemList<'_>) -> BTreeMap<String, String> {
    let mut aliases = BTreeMap::new();
    for (alias, value) in table {
        match read_alias(alias, value, table) {
            Ok(target) => {
                aliases.insert(alias.get_ref().to_string(), target);
            }
            Err(what) => problems.add(alias.span().start, format!("`{}` {what}", alias.get_ref())),
        }
    }
    aliases
}

/// The model of an alias, or its problem.
fn read_alias(
    alias: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
    table: &DeTable<'_>,
) -> Result<String, String> {
    let Some(target) = value.get_ref().as_str() else {
        return Err(
            "must be given a model's name in quotes (and be in quotes itself when it contains a \
             dot)"
                .into(),
        );
    };
    let alias = alias.get_ref();
    for name in [alias, target] {
        check_model(name.into()).map_err(|error| format!("= {target:?}: {error}"))?;
    }
    if alias == target {
        return Err("stands for itself".into());
    }
    if table.contains_key(target) {
        return Err(format!(
            "stands for `{target}`, which is an alias itself: name the model"
        ));
    }
    Ok(target.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        Aliases::parse(text).unwrap_err().to_string()
    }

    // spec: PATH-18
    #[test]
    fn an_alias_stands_for_a_model() {
        let text =
            "# ours\n[aliases]\n\"gpt-4o\" = \"tiny\"\ngpt-5 = \"org/big:70b\"\n\"a.b\" = 'tiny'\n";
        let aliases = Aliases::parse(text).unwrap();
        assert_eq!(aliases.target("gpt-4o"), Some("tiny"));
        assert_eq!(aliases.target("tiny"), None);
        assert_eq!(
            aliases.iter().collect::<Vec<_>>(),
            [
                ("a.b", "tiny"),
                ("gpt-4o", "tiny"),
                ("gpt-5", "org/big:70b")
            ]
        );
        assert_eq!(Aliases::parse("[aliases]"), Ok(Aliases::default()));
    }

    // spec: CONF-6
    #[test]
    fn every_invalid_entry_is_reported_with_its_line() {
        let text = "\n[aliases]\nfine = \"m\"\nme = \"me\"\na = \"b\"\nb = \"a\"\nnothing = \
                    \"\"\n\"\" = \"m\"\nseven = 7\nx.y = \"m\"\nlong = \"fine\"\n[other]\n";
        let reported = problems(text);
        let lines: Vec<&str> = reported.lines().map(str::trim).collect();
        for (line, expected) in [
            "line 4: `me` stands for itself",
            "line 5: `a` stands for `b`, which is an alias itself",
            "line 6: `b` stands for `a`, which is an alias itself",
            "line 7: `nothing` = \"\": ",
            "line 8: `` = \"m\": ",
            "line 9: `seven` must be given a model's name",
            "line 10: `x` must be given a model's name",
            "line 11: `long` stands for `fine`, which is an alias itself",
            "line 12: unknown key `other`",
        ]
        .iter()
        .enumerate()
        {
            assert!(
                lines[line].starts_with(expected),
                "{expected:?} in:\n{reported}"
            );
        }
        assert_eq!(lines.len(), 9, "{reported}");
    }

    // spec: CONF-6
    #[test]
    fn other_files_are_rejected() {
        for (text, expected) in [
            ("", "line 1: no [aliases] in it"),
            ("\"gpt-4o\" = \"tiny\"", "line 1: unknown key `gpt-4o`"),
            ("\"a\\nb\" = 1", "line 1: unknown key `a b`: an alias"),
            ("\naliases = 1", "line 2: `aliases` must be a table"),
            ("[[aliases]]", "line 1: `aliases` must be a table"),
            ("[aliases]\n\na = ", "line 3: "),
            ("[aliases]\na = \"x\"\na = \"y\"", "line 3: duplicate key"),
        ] {
            assert!(
                problems(text).contains(expected),
                "{expected:?} in:\n{}",
                problems(text)
            );
        }
        let control = "[aliases]\na = \"x\\u0007\"";
        assert!(
            !problems(control).contains('\u{7}'),
            "{}",
            problems(control)
        );
    }
}
