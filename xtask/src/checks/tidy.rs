//! `tidy`: every file says what it is for, every crate inherits the lints and has a README whose
//! Rust is compiled, no test is ignored, and documents are in order.

use std::{
    ffi::OsStr,
    path::{Component, Path},
};

use anyhow::Result;

use super::{Source, documents, fail_on, layers::members, sources};

/// A file of more lines than this is worth a thought: it mostly holds two things. Only a warning.
const MANY_LINES: usize = 400;

/// How a block of Rust begins in a README.
const RUST: &str = "```rust";

/// What makes rustdoc compile the blocks of a README, and run them where it can.
const COMPILED: &str = "include_str!(\"../README.md\")";

/// Directories whose files need not begin with `//!`.
const FREE: [&str; 3] = ["tests", "examples", "benches"];

pub(crate) fn check() -> Result<()> {
    let sources = sources()?;
    for source in &sources {
        let lines = source.text.lines().count();
        if lines > MANY_LINES {
            println!("warning: {}: {lines} lines", source.path.display());
        }
    }
    let mut problems: Vec<String> = sources.iter().flat_map(problems_of_source).collect();
    problems.extend(documents::problems(&sources)?);
    for member in members()? {
        let manifest = std::fs::read_to_string(&member.manifest)?;
        let read = |name| std::fs::read_to_string(member.manifest.with_file_name(name)).ok();
        let readme = read("README.md");
        problems.extend(problems_of_crate(&member.name, &manifest, readme.is_some()));
        let lib = read("src/lib.rs").unwrap_or_default();
        problems.extend(problems_of_readme(
            &member.name,
            &readme.unwrap_or_default(),
            &lib,
        ));
    }
    fail_on(&problems)
}

fn problems_of_source(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    let path = source.path.display();
    if !is_free(&source.path) && !source.text.starts_with("//!") {
        problems.push(format!(
            "{path}: does not begin with //! and what it is for"
        ));
    }
    for (number, line) in (1..).zip(source.text.lines()) {
        let line = line.trim_start();
        if line.starts_with("#[ignore") {
            problems.push(format!("{path}:{number}: an ignored test tests nothing"));
        }
    }
    problems
}

fn is_free(path: &Path) -> bool {
    path.components().any(
        |part| matches!(part, Component::Normal(name) if FREE.iter().any(|free| name == OsStr::new(free))),
    )
}

/// Rust that nobody compiles is wrong sooner or later.
fn problems_of_readme(name: &str, readme: &str, lib: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let blocks: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with(RUST))
        .collect();
    if !blocks.is_empty() && !lib.contains(COMPILED) {
        problems.push(format!(
            "{name}: README.md shows Rust, and no item of src/lib.rs has it in a #[doc = \
             {COMPILED}]"
        ));
    }
    if blocks.iter().any(|block| block.contains("ignore")) {
        problems.push(format!("{name}: README.md shows Rust that is not compiled"));
    }
    problems
}

fn problems_of_crate(name: &str, manifest: &str, has_readme: bool) -> Vec<String> {
    let mut problems = Vec::new();
    let inherits = manifest
        .split_once("[lints]")
        .and_then(|(_, rest)| rest.lines().map(str::trim).find(|line| !line.is_empty()))
        .is_some_and(|line| line.replace(' ', "") == "workspace=true");
    if !inherits {
        problems.push(format!(
            "{name}: Cargo.toml does not inherit the workspace's lints"
        ));
    }
    if !has_readme {
        problems.push(format!("{name}: has no README.md"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> usize {
        problems_of_source(&Source {
            path: path.into(),
            text: text.to_owned(),
        })
        .len()
    }

    // spec: PACK-4
    #[test]
    fn a_file_says_what_it_is_for() {
        assert_eq!(problems("libs/a/src/b.rs", "//! For b.\n"), 0);
        assert_eq!(problems("libs/a/src/b.rs", "use c;\n"), 1);
        assert_eq!(problems("libs/a/tests/b.rs", "use c;\n"), 0);
        assert_eq!(problems("libs/a/src/tests.rs", "use c;\n"), 1);
    }

    // spec: PACK-4
    #[test]
    fn no_test_is_ignored() {
        assert_eq!(
            problems(
                "libs/a/tests/b.rs",
                "    #[ignore = \"slow\"]\n    #[test]\n"
            ),
            1
        );
    }

    // spec: PACK-11
    #[test]
    fn rust_in_a_readme_is_compiled() {
        let lib = "#[cfg(doctest)]\n#[doc = include_str!(\"../README.md\")]\nstruct Readme;\n";
        for (readme, lib, expected) in [
            ("# a\n", "", 0),
            ("# a\n```rust,no_run\na();\n```\n", lib, 0),
            ("# a\n```rust\na();\n```\n", "", 1),
            ("# a\n```rust,ignore\na();\n```\n", lib, 1),
        ] {
            assert_eq!(
                problems_of_readme("a", readme, lib).len(),
                expected,
                "{readme}"
            );
        }
    }

    // spec: PACK-4
    #[test]
    fn a_crate_inherits_lints_and_has_a_readme() {
        assert_eq!(
            problems_of_crate("a", "[package]\n\n[lints]\nworkspace = true\n", true).len(),
            0
        );
        assert_eq!(
            problems_of_crate("a", "[package]\n[lints.rust]\n", false).len(),
            2
        );
    }
}
