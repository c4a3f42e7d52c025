//! Every block of shell commands says which test runs it, or why none does.
//!
//! The line above the block is a comment. `<!-- run: e2e documents::aliases -->` names a test of
//! `tests/e2e/documents.rs`, which takes the block from the document. `<!-- not run: … -->` has a
//! reason.

use std::path::Path;

use super::text::{Document, Line};
use crate::source_files::SourceFile;

/// The languages of blocks that people type.
const SHELL: [&str; 2] = ["sh", "console"];
/// Begins the comment that names a test.
const RUN: &str = "<!-- run: e2e ";
/// Begins the comment that has a reason.
const NOT_RUN: &str = "<!-- not run: ";
/// Ends both.
const END: &str = "-->";

/// All blocks of the README, of CONTRIBUTING and of `.docs` without such a comment, or with a wrong
/// one.
pub(super) fn problems(document: &Document<'_>, sources: &[SourceFile]) -> Vec<String> {
    if !is_for_people(document.path) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    let mut above = "";
    for line in document.lines() {
        match line {
            Line::Text(_, text) => above = text,
            Line::Begin(number, language) if SHELL.contains(&language) => {
                let problem = of_mark(above, document.path, sources);
                problems
                    .extend(problem.map(|problem| format!("{}: {problem}", document.at(number))));
                above = "";
            }
            Line::Begin(..) | Line::Code => above = "",
        }
    }
    problems
}

fn is_for_people(path: &Path) -> bool {
    path.starts_with(".docs")
        || path == Path::new("README.md")
        || path == Path::new("CONTRIBUTING.md")
}

fn of_mark(mark: &str, document: &Path, sources: &[SourceFile]) -> Option<String> {
    let inside = |begin| Some(mark.trim().strip_prefix(begin)?.strip_suffix(END)?.trim());
    if let Some(reason) = inside(NOT_RUN) {
        return reason
            .is_empty()
            .then(|| "no reason why no test runs this".to_owned());
    }
    let Some(test) = inside(RUN) else {
        return Some(format!(
            "needs `{RUN}FILE::TEST {END}` or `{NOT_RUN}REASON {END}` above it"
        ));
    };
    let Some((file, function)) = test.split_once("::") else {
        return Some(format!("{test} is not FILE::TEST"));
    };
    let end = format!("tests/e2e/{file}.rs");
    let Some(source) = sources.iter().find(|source| source.path.ends_with(&end)) else {
        return Some(format!("there is no {end}"));
    };
    if !source.text.contains(&format!("fn {function}(")) {
        return Some(format!("{end} has no test {function}"));
    }
    let name = document.to_string_lossy();
    (!source.text.contains(&*name)).then(|| format!("{end} does not read {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PACK-7
    #[test]
    fn every_block_is_run_or_has_a_reason() {
        let sources = [SourceFile {
            path: "xtask/crates/e2e-tests/tests/e2e/documents.rs".into(),
            text: "#[test]\nfn aliases() { read(\".docs/ALIASES.md\") }\n".to_owned(),
        }];
        for (path, text, expected) in [
            (
                ".docs/ALIASES.md",
                "<!-- run: e2e documents::aliases -->\n```sh\n",
                0,
            ),
            (
                ".docs/ALIASES.md",
                "<!-- not run: it needs a GPU -->\n```console\n",
                0,
            ),
            (".docs/ALIASES.md", "```toml\na = 1\n```\n", 0),
            ("libs/a/README.md", "```sh\n", 0),
            (".docs/ALIASES.md", "Text.\n\n```sh\n", 1),
            (".docs/ALIASES.md", "<!-- not run: -->\n```sh\n", 1),
            (".docs/ALIASES.md", "<!-- not run:  -->\n```sh\n", 1),
            (
                ".docs/ALIASES.md",
                "<!-- run: e2e documents::other -->\n```sh\n",
                1,
            ),
            (
                ".docs/ALIASES.md",
                "<!-- run: e2e other::aliases -->\n```sh\n",
                1,
            ),
            (
                ".docs/OTHER.md",
                "<!-- run: e2e documents::aliases -->\n```sh\n",
                1,
            ),
            (
                ".docs/ALIASES.md",
                "<!-- not run: x -->\n```sh\na\n```\n```sh\nb\n```\n",
                1,
            ),
        ] {
            let document = Document::new(Path::new(path), text);
            assert_eq!(
                problems(&document, &sources).len(),
                expected,
                "{path}: {text}"
            );
        }
    }
}
