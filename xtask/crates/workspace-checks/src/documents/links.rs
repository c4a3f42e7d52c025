//! Every relative link leads to a file, every anchor to a heading, and every named source file
//! exists.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use super::text::{Document, Piece};
use workspace_build::root;

/// Documents of the past: what they name may be gone.
const HISTORY: &str = "CHANGELOG.md";

/// All broken links and names of missing files. `crates` are the directories of all crates.
pub(super) fn problems(documents: &[Document<'_>], crates: &[PathBuf]) -> Vec<String> {
    let anchors: BTreeMap<&Path, Vec<String>> = documents
        .iter()
        .map(|document| (document.path, document.anchors()))
        .collect();
    let exists = |path: &Path| root().join(path).exists();
    let mut problems = Vec::new();
    for document in documents {
        for piece in document.pieces() {
            let (line, problem) = match piece {
                Piece::Link(line, target) => {
                    (line, of_link(&target, document.path, &anchors, &exists))
                }
                Piece::Code(_, _) if document.path == Path::new(HISTORY) => continue,
                Piece::Code(line, code) => (line, of_source(&code, crates)),
            };
            problems.extend(problem.map(|problem| format!("{}: {problem}", document.at(line))));
        }
    }
    problems
}

fn of_link(
    target: &str,
    from: &Path,
    anchors: &BTreeMap<&Path, Vec<String>>,
    exists: &dyn Fn(&Path) -> bool,
) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = match target.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (target, None),
    };
    let path = if file.is_empty() {
        from.to_owned()
    } else {
        match normal(&from.parent().unwrap_or(from).join(file)) {
            Some(path) if exists(&path) => path,
            _ => return Some(format!("the link to {target} leads to no file")),
        }
    };
    let anchor = anchor?;
    let known = anchors.get(path.as_path());
    let is_known = known.is_some_and(|known| known.iter().any(|known| known == anchor));
    (!is_known).then(|| format!("{} has no heading #{anchor}", path.display()))
}

/// The path without `.` and `..`; `None` when it leaves the workspace.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(normal)
}

/// Inline code that looks like a source path must be one: from the root, or from a crate's name on.
fn of_source(code: &str, crates: &[PathBuf]) -> Option<String> {
    let is_path = code.contains("/src/")
        && code
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.'));
    if !is_path || code.starts_with("target/") {
        return None;
    }
    let (name, rest) = code.split_once('/')?;
    let in_crate = crates
        .iter()
        .find(|directory| directory.file_name().is_some_and(|own| own == name))
        .map(|directory| directory.join(rest));
    let exists = in_crate.is_some_and(|path| path.exists()) || root().join(code).exists();
    (!exists).then(|| format!("there is no file {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PACK-16
    #[test]
    fn links_lead_to_files_and_headings() {
        let anchors = BTreeMap::from([
            (Path::new("a.md"), vec!["top".to_owned()]),
            (Path::new("d/b.md"), vec!["here".to_owned()]),
        ]);
        let exists = |path: &Path| {
            ["a.md", "d/b.md", "d"]
                .iter()
                .any(|known| path == Path::new(known))
        };
        let broken =
            |target: &str| of_link(target, Path::new("d/b.md"), &anchors, &exists).is_some();
        for target in [
            "../a.md",
            "../a.md#top",
            "#here",
            "b.md",
            "./b.md#here",
            "../d",
            "https://x/y#z",
        ] {
            assert!(!broken(target), "{target}");
        }
        for target in [
            "a.md",
            "../a.md#here",
            "#top",
            "../../a.md",
            "/a.md",
            "../d#here",
        ] {
            assert!(broken(target), "{target}");
        }
    }

    // spec: PACK-16
    #[test]
    fn named_source_files_exist() {
        let crates = [root().join("xtask")];
        for (code, expected) in [
            ("xtask/src/lib.rs", false),
            ("xtask/src/commands", false),
            ("xtask/src/nothing.rs", true),
            ("elsewhere/src/lib.rs", true),
            ("libs/*/src/lib.rs", false),
            ("src/core.rs", false),
            ("cargo test", false),
        ] {
            assert_eq!(of_source(code, &crates).is_some(), expected, "{code}");
        }
    }
}
