//! The variables that the units of systemd set.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result};
use workspace_build::root;

/// The variables that the unit of a daemon sets.
///
/// # Errors
/// When the unit cannot be read.
pub fn environment(daemon: &str) -> Result<BTreeMap<String, String>> {
    let path = root()
        .join("ci/deploy/systemd")
        .join(format!("{daemon}.service"));
    let unit =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let assignments = unit
        .lines()
        .filter_map(|line| line.strip_prefix("Environment="));
    Ok(assignments
        .filter_map(|assignment| assignment.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PACK-8
    #[test]
    fn the_unit_of_the_agent_sets_directories_and_auth() {
        let environment = environment("pool-managerd").unwrap();
        assert_eq!(
            environment["POOL_MANAGERD_RUNTIME_DIR"],
            "/run/llorch/engines"
        );
        assert_eq!(environment["POOL_MANAGERD_REQUIRE_AUTH"], "beyond-loopback");
    }
}
