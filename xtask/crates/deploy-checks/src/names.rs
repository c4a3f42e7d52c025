//! Names of variables in what is deployed: each must be one that a daemon reads.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use workspace_build::root;
use workspace_checks::fail_on;

/// What our variables begin with.
const PREFIXES: [&str; 3] = ["ORCHESTRATORD_", "POOL_MANAGERD_", "LLORCH_"];

/// Variables of the build and of the command line tool, which no daemon reads.
const OTHERS: [&str; 4] = [
    "LLORCH_REVISION",
    "LLORCH_URL",
    "LLORCH_BIN_DIR",
    "LLORCH_CONFIG",
];

/// Fails when a file below `ci/deploy` names a variable that is not in `known`.
pub fn check(known: &BTreeSet<&str>) -> Result<()> {
    let mut problems = Vec::new();
    for path in files(&root().join("ci/deploy"))? {
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = String::from_utf8_lossy(&bytes);
        for name in unknown(&text, known) {
            let path = path.strip_prefix(root()).unwrap_or(&path).display();
            problems.push(format!("{path}: no daemon reads {name}"));
        }
    }
    fail_on(&problems)
}

/// All files below `directory`.
pub(crate) fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn unknown<'t>(text: &'t str, known: &BTreeSet<&str>) -> BTreeSet<&'t str> {
    text.split(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_')
        .filter(|word| {
            PREFIXES
                .iter()
                .any(|prefix| word.len() > prefix.len() && word.starts_with(prefix))
        })
        .filter(|word| !known.contains(word) && !OTHERS.contains(word))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: CONF-7
    #[test]
    fn a_variable_that_no_daemon_reads_is_found() {
        let known = BTreeSet::from(["ORCHESTRATORD_ADDR"]);
        let text = "Environment=ORCHESTRATORD_ADDR=x\n- name: ORCHESTRATORD_ADRR\n# \
                    ORCHESTRATORD_* ${LLORCH_REVISION}";
        assert_eq!(
            unknown(text, &known),
            BTreeSet::from(["ORCHESTRATORD_ADRR"])
        );
    }
}
