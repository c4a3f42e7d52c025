//! Rules of this workspace that no compiler knows.

mod documents;
pub(crate) mod layers;
pub(crate) mod limits;
pub(crate) mod metrics;
pub(crate) mod tidy;
pub(crate) mod trace;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Where source files of ours are.
const SOURCES: [&str; 4] = ["bin", "ci", "libs", "xtask"];

/// A source file, by its path from the workspace's root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// All Rust files, sorted by path.
pub(crate) fn sources() -> Result<Vec<Source>> {
    let is_rust = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
    let mut paths = Vec::new();
    for directory in SOURCES {
        collect(&workspace::root().join(directory), &is_rust, &mut paths)?;
    }
    read_all(paths)
}

/// Reads files, sorted by path.
fn read_all(mut paths: Vec<PathBuf>) -> Result<Vec<Source>> {
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let path = path
                .strip_prefix(workspace::root())
                .unwrap_or(&path)
                .to_owned();
            Ok(Source { path, text })
        })
        .collect()
}

/// Adds the files below `directory` that are `wanted`.
fn collect(
    directory: &Path,
    wanted: &dyn Fn(&Path) -> bool,
    paths: &mut Vec<PathBuf>,
) -> Result<()> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            // A crate may have been built on its own, and npm installs packages beside its manifest.
            if !path.ends_with("target") && !path.ends_with("node_modules") {
                collect(&path, wanted, paths)?;
            }
        } else if wanted(&path) {
            paths.push(path);
        }
    }
    Ok(())
}

/// Fails with all of them, when there are any.
pub(crate) fn fail_on(problems: &[String]) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    bail!(
        "{} problem(s):\n  {}",
        problems.len(),
        problems.join("\n  ")
    )
}
