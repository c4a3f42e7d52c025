//! `trace`: every requirement has a test that names it.
//!
//! A requirement is a line of a file in `.specs/` whose first bold text is an id: `- **REG-3** A
//! node …`. A test names it in a comment, before its `fn` line or inside its body: `// spec: REG-3,
//! REG-4`. A plain doc comment that contains the id counts too.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use crate::{
    fail_on,
    source_files::{SourceFile, rust_files},
};

/// Where the requirements are.
const SPECS: &str = ".specs";

/// Begins the list of ids in a comment.
const MARK: &str = "spec:";

/// For each requirement, the tests that name it.
type Table = BTreeMap<String, BTreeSet<String>>;

/// Prints each requirement with its tests. Fails when one has none, or two have one id.
///
/// # Errors
/// As above, and when a file cannot be read.
pub fn check() -> Result<()> {
    let (ids, repeated) = distinct(requirements()?);
    let mut table: Table = ids.iter().map(|id| (id.clone(), BTreeSet::new())).collect();
    let twice = |id: &String| format!("two requirements in {SPECS} are {id}");
    let mut problems: Vec<String> = repeated.iter().map(twice).collect();
    for source in rust_files()? {
        for (id, test) in names(&source, &ids) {
            match table.get_mut(&id) {
                Some(tests) => {
                    tests.insert(test);
                }
                None => problems.push(format!("{test} names {id}, which no file of {SPECS} has")),
            }
        }
    }
    for (id, tests) in &table {
        println!(
            "{id:<12} {}",
            tests
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        );
        if tests.is_empty() {
            problems.push(format!("{id} has no test that names it"));
        }
    }
    println!("{} requirements", table.len());
    fail_on(&problems)
}

/// The ids, and those that occur again.
fn distinct(all: Vec<String>) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut ids = BTreeSet::new();
    let mut repeated = BTreeSet::new();
    for id in all {
        if let Some(id) = ids.replace(id) {
            repeated.insert(id);
        }
    }
    (ids, repeated)
}

fn requirements() -> Result<Vec<String>> {
    let directory = workspace_build::root().join(SPECS);
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(&directory).with_context(|| format!("there is no {SPECS}"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            ids.extend(requirements_in(&std::fs::read_to_string(&path)?));
        }
    }
    Ok(ids)
}

fn requirements_in(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("**")?;
        let (bold, _) = rest.split_once("**")?;
        is_id(bold).then(|| bold.to_owned())
    })
}

/// Capital letters, digits and dashes, with a letter first and a digit last: `REG-3`, `HTTP-2-14`.
fn is_id(text: &str) -> bool {
    text.contains('-')
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.ends_with(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-')
}

/// The ids in a comment: all after the mark, known or not, and the known ones of its text.
fn ids_in(comment: &str, known: &BTreeSet<String>) -> Vec<String> {
    let marked = comment.split_once(MARK).map_or("", |(_, rest)| rest);
    let words = |text: &str| {
        let split = text
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .map(str::to_owned);
        split.filter(|word| is_id(word)).collect::<Vec<_>>()
    };
    let mut ids = words(marked);
    ids.extend(words(comment).into_iter().filter(|id| known.contains(id)));
    ids
}

/// Pairs of an id and a test of the file that names it.
fn names(source: &SourceFile, known: &BTreeSet<String>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut ahead = Ahead::default();
    let mut test: Option<(usize, String)> = None;
    for line in source.text.lines() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if trimmed.starts_with("//") {
            let ids = ids_in(trimmed, known);
            match &test {
                Some((depth, name)) if indent > *depth => {
                    pairs.extend(ids.into_iter().map(|id| (id, name.clone())));
                }
                _ => ahead.ids.extend(ids),
            }
        } else if trimmed.starts_with("#[") {
            // #[test], #[tokio::test(start_paused = true)]
            ahead.is_test |= trimmed.contains("test]") || trimmed.contains("test(");
        } else if trimmed.starts_with('}')
            && test.as_ref().is_some_and(|(depth, _)| indent <= *depth)
        {
            test = None;
        } else if let Some(name) = function_name(trimmed) {
            let Ahead { ids, is_test } = std::mem::take(&mut ahead);
            let path = format!("{}::{name}", source.path.display());
            test = is_test.then(|| (indent, path.clone()));
            if is_test {
                pairs.extend(ids.into_iter().map(|id| (id, path.clone())));
            }
        }
    }
    pairs
}

/// What was read since the last function.
#[derive(Default)]
struct Ahead {
    ids: Vec<String>,
    is_test: bool,
}

fn function_name(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    let rest = line.strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_is_the_first_bold_text_of_a_line() {
        let text = "# **Title**\n- **REG-3** A node …\n| **HTTP-2-14** | see **REG-4** \
                    |\n**Note** that\n**REG-X**";
        assert_eq!(
            requirements_in(text).collect::<Vec<_>>(),
            ["REG-3", "HTTP-2-14"]
        );
    }

    #[test]
    fn a_test_names_ids_before_and_inside_itself() {
        // Written with @ for //, so that this file names no requirement.
        let text = "\
@ spec: REG-9
fn helper() {}

@/ Something about REG-1, and UTF-8.
@ spec: REG-2
#[tokio::test(start_paused = true)]
async fn first() {
    @ spec: REG-3
    fn_call();
}

    @ spec: REG-4, NEW-1
    #[test]
    fn second() {}
"
        .replace('@', "//");
        let source = SourceFile {
            path: "a.rs".into(),
            text,
        };
        let known = BTreeSet::from(["REG-1".to_owned(), "REG-9".to_owned()]);
        let pairs: Vec<String> = names(&source, &known)
            .into_iter()
            .map(|(id, test)| format!("{id} {test}"))
            .collect();
        assert_eq!(
            pairs,
            [
                "REG-1 a.rs::first",
                "REG-2 a.rs::first",
                "REG-3 a.rs::first",
                "REG-4 a.rs::second",
                "NEW-1 a.rs::second",
            ]
        );
    }
}
