//! The features of dependencies: both daemons build every crate with the same ones, so that
//! `cargo run -p` of one compiles nothing again after a build of both.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use workspace_build::cargo;

/// The programs that a user builds at once and starts one by one.
const DAEMONS: [&str; 2] = ["orchestratord", "pool-managerd"];

/// A sentence for each crate that one daemon builds with other features than both together.
pub(crate) fn problems() -> Result<Vec<String>> {
    let together = built(&DAEMONS)?;
    let mut problems = Vec::new();
    for daemon in DAEMONS {
        problems.extend(different(daemon, &built(&[daemon])?, &together));
    }
    Ok(problems)
}

fn different(daemon: &str, alone: &BTreeSet<String>, together: &BTreeSet<String>) -> Vec<String> {
    alone
        .difference(together)
        .map(|line| {
            format!(
                "{daemon} alone builds {line}, and with the other daemon more features; \
                 name them in the workspace's Cargo.toml"
            )
        })
        .collect()
}

/// `NAME vVERSION [FEATURES]` of each crate that a build of `packages` compiles.
fn built(packages: &[&str]) -> Result<BTreeSet<String>> {
    let mut arguments = vec![
        "tree",
        "--offline",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--no-dedupe",
        "--format",
        "{p} [{f}]",
    ];
    for package in packages {
        arguments.extend(["--package", package]);
    }
    let output = cargo(&arguments)
        .output()
        .context("cannot run cargo tree")?;
    ensure!(
        output.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout).context("cargo tree printed no UTF-8")?;
    Ok(lines
        .lines()
        .filter(|line| !line.is_empty())
        .map(without_path)
        .collect())
}

/// Without the directory of a workspace's member.
fn without_path(line: &str) -> String {
    match (line.find(" ("), line.rfind(" [")) {
        (Some(path), Some(features)) if path < features => [line.get(..path), line.get(features..)]
            .into_iter()
            .flatten()
            .collect(),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_that_only_one_daemon_turns_on_is_named() {
        let set = |lines: &[&str]| lines.iter().map(|line| without_path(line)).collect();
        let alone = set(&["axum v0.8.9 [json]", "sse v0.1.0 (/src/libs/sse) []"]);
        let together = set(&["axum v0.8.9 [json,query]", "sse v0.1.0 (/src/libs/sse) []"]);
        let problems = different("pool-managerd", &alone, &together);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems
                .iter()
                .all(|problem| problem.starts_with("pool-managerd alone builds axum v0.8.9 [json]"))
        );
        assert!(different("pool-managerd", &alone, &alone).is_empty());
    }
}
