//! File cycles: within a crate, files use each other in one direction only.
//!
//! A file uses another one when a path of its code leads there: a `use` declaration, or a path such
//! as `crate::a::b()` in an expression. These do not count:
//! - `mod child;` and `pub use child::…`, with which a module publishes its children;
//! - code under `#[cfg(test)]`, comments and literals.
//!
//! A name that a module re-exports leads to the file that defines it.

mod allowed;
mod graph;
mod module_tree;
mod tokens;

use std::path::{Path, PathBuf};

use anyhow::Result;

use self::{
    allowed::{ALLOWED, AllowedCycle},
    module_tree::ModuleTree,
};

/// The cycles of a crate whose targets (libraries, binaries, tests) have these root files.
///
/// # Errors
/// When the file of a module cannot be read.
pub(crate) fn problems(workspace: &Path, roots: &[PathBuf]) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for root in roots {
        let tree = ModuleTree::read(root, &|path| std::fs::read_to_string(path))?;
        let mut graph = tree.graph();
        graph.rename(|path| path.strip_prefix(workspace).unwrap_or(path).to_owned());
        graph.rename(|path| representative(ALLOWED, path));
        problems.extend(graph.cycles().iter().map(|cycle| shown(cycle)));
    }
    Ok(problems)
}

/// Entries of the list of allowed cycles that name a file which does not exist.
pub(crate) fn stale_exceptions(workspace: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for AllowedCycle { files, reason } in ALLOWED {
        for file in files.iter().filter(|file| !workspace.join(file).is_file()) {
            problems.push(format!(
                "{file}: is no file, but a cycle with it is allowed ({reason})"
            ));
        }
    }
    problems
}

/// The first file of the allowed cycle to which a file belongs: the check sees one file in its
/// place.
fn representative(allowed: &[AllowedCycle], path: &Path) -> PathBuf {
    allowed
        .iter()
        .find(|cycle| cycle.files.iter().any(|file| path == Path::new(file)))
        .and_then(|cycle| cycle.files.first())
        .map_or_else(|| path.to_owned(), PathBuf::from)
}

fn shown(cycle: &[PathBuf]) -> String {
    let files: Vec<_> = cycle
        .iter()
        .chain(cycle.first())
        .map(|path| path.display().to_string())
        .collect();
    format!("file cycle: {}", files.join(" -> "))
}

#[cfg(test)]
mod tests;
