//! `tidy`: rules for files and manifests.
//!
//! - Every file says what it is for, and has no banned word and no line over 100 columns.
//! - Every crate inherits the lints, has a README whose Rust is compiled, and has no file cycle.
//! - No test is ignored.
//! - Documents: links lead somewhere, and a test runs each shell command or a comment says why not.

use std::{
    ffi::OsStr,
    path::{Component, Path},
};

use anyhow::Result;

use workspace_build::root;

use crate::{
    cycles, documents, fail_on,
    layers::members,
    source_files::{SourceFile, source_files},
    width, words,
};

/// A longer file gets a warning: it mostly has two purposes.
const MANY_LINES: usize = 400;

/// How a block of Rust begins in a README.
const RUST: &str = "```rust";

/// What makes rustdoc compile the blocks of a README, and run them where it can.
const COMPILED: &str = "include_str!(\"../README.md\")";

/// Directories whose files need not begin with `//!`.
const FREE: [&str; 3] = ["tests", "examples", "benches"];

/// Fails when a file or a crate breaks a rule.
///
/// # Errors
/// As above, and when a file cannot be read.
pub fn check() -> Result<()> {
    let mut problems = Vec::new();
    let files = source_files()?;
    for file in &files {
        if file.extension() == "rs" {
            warn_of_length(file);
            problems.extend(problems_of_source(file));
        }
        problems.extend(words::problems(file));
        problems.extend(width::problems(file));
    }
    problems.extend(cycles::stale_exceptions(root()));
    problems.extend(documents::problems(&files)?);
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
        problems.extend(cycles::problems(root(), &member.targets)?);
    }
    fail_on(&problems)
}

fn warn_of_length(file: &SourceFile) {
    let lines = file.text.lines().count();
    if lines > MANY_LINES {
        println!("warning: {}: {lines} lines", file.path.display());
    }
}

fn problems_of_source(source: &SourceFile) -> Vec<String> {
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
    path.components().any(|part| match part {
        Component::Normal(name) => FREE.iter().any(|free| name == OsStr::new(free)),
        _ => false,
    })
}

/// Rust in a README has to be compiled, or it becomes wrong.
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
        problems_of_source(&SourceFile {
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
