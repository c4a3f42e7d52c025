//! The text files of the workspace.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use workspace_build::root;

/// The directories with our files, from the workspace's root.
const DIRECTORIES: [&str; 8] = [
    ".cargo", ".config", ".docs", ".specs", "bin", "ci", "libs", "xtask",
];

/// The extensions of the files that are checked.
const EXTENSIONS: [&str; 3] = ["md", "rs", "toml"];

/// A text file, with its path from the workspace's root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl SourceFile {
    pub(crate) fn extension(&self) -> &str {
        extension(&self.path)
    }
}

/// All Rust files, sorted by path.
pub(crate) fn rust_files() -> Result<Vec<SourceFile>> {
    let mut files = source_files()?;
    files.retain(|file| file.extension() == "rs");
    Ok(files)
}

/// All Rust, Markdown and TOML files, sorted by path.
pub(crate) fn source_files() -> Result<Vec<SourceFile>> {
    let root = root();
    let mut paths = Vec::new();
    // The root itself has other directories too.
    for entry in entries(root)? {
        if entry.is_file() {
            paths.push(entry);
        }
    }
    for directory in DIRECTORIES {
        collect(&root.join(directory), &mut paths)?;
    }
    paths.retain(|path| EXTENSIONS.contains(&extension(path)));
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let path = path.strip_prefix(root).unwrap_or(&path).to_owned();
            Ok(SourceFile { path, text })
        })
        .collect()
}

fn extension(path: &Path) -> &str {
    path.extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default()
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let cannot_read = || format!("cannot read {}", directory.display());
    let entries = std::fs::read_dir(directory).with_context(cannot_read)?;
    entries
        .map(|entry| Ok(entry.with_context(cannot_read)?.path()))
        .collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for path in entries(directory)? {
        if !path.is_dir() {
            paths.push(path);
        // A crate may have been built alone.
        } else if !path.ends_with("target") {
            collect(&path, paths)?;
        }
    }
    Ok(())
}
