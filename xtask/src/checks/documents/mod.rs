//! Documents: links resolve, named source files exist, lines are short, and shell commands are run
//! by a test or marked with the reason why not.

mod commands;
mod links;
mod text;
mod width;

use std::path::Path;

use anyhow::Result;

use self::text::Document;
use super::{Source, collect, layers::members, read_all};
use crate::workspace;

/// The directories with documents, below the workspace's root. The root's own files are added.
const DIRECTORIES: [&str; 6] = [".docs", ".specs", "bin", "ci", "libs", "xtask"];

/// The first words of the comment in a document that is generated from the code.
const GENERATED: &str = "<!-- Written by ";

/// All problems of all documents.
pub(super) fn problems(sources: &[Source]) -> Result<Vec<String>> {
    let root = workspace::root();
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        if is_document(&path) {
            paths.push(path);
        }
    }
    for directory in DIRECTORIES {
        collect(&root.join(directory), &is_document, &mut paths)?;
    }
    let documents: Vec<Document> = read_all(paths)?
        .into_iter()
        .map(|Source { path, text }| Document::new(path, text))
        .collect();
    let crates: Vec<_> = members()?
        .into_iter()
        .filter_map(|member| Some(member.manifest.parent()?.to_owned()))
        .collect();
    let mut problems = links::problems(&documents, &crates);
    for document in &documents {
        problems.extend(width::problems(document));
        problems.extend(commands::problems(document, sources));
    }
    Ok(problems)
}

fn is_document(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|extension| extension == "md")
}
