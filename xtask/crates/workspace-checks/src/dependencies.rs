//! Licences, sources, versions and owners of all dependencies, by `cargo deny` and `deny.toml`.

use anyhow::{Context, Result, ensure};

use test_tools::Tool;
use workspace_build::cargo;

/// What needs no network. Advisories need a database, so they are a command of their own:
/// `cargo deny check advisories`.
const CHECKS: [&str; 3] = ["bans", "licenses", "sources"];

/// Runs `cargo deny` over the whole workspace, where it is installed.
///
/// # Errors
/// When a dependency breaks a rule, or when `cargo deny` is required and missing.
pub fn check() -> Result<()> {
    if !Tool::Deny.is_here()? {
        return Ok(());
    }
    let status = cargo(&[
        "deny",
        "--log-level",
        "error",
        "check",
        "--hide-inclusion-graph",
    ])
    .args(CHECKS)
    .status()
    .context("cannot run cargo deny")?;
    ensure!(status.success(), "a dependency breaks a rule of deny.toml");
    Ok(())
}
