//! Rules of this workspace that no compiler knows.

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
    let mut paths = Vec::new();
    for directory in SOURCES {
        collect(&workspace::root().join(directory), &mut paths)?;
    }
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

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            // Somebody may have built a crate on its own.
            if !path.ends_with("target") {
                collect(&path, paths)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
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
