//! The list of dependencies inside of a released program, which `cargo auditable` adds. Scanners
//! read it, also where the program was copied without its bill of materials.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use child_process::succeed;
use flate2::read::ZlibDecoder;
use serde_json::Value;
use test_tools::Tool;
use workspace_build::{cargo, executable};

use super::bill_of_materials;

/// The section of the program.
const SECTION: &str = ".dep-v0";

/// The program that is built for the check: the smallest of a release.
const PROGRAM: &str = "llorch";

/// Fails when a program that is built as a release is, and stripped, does not list everything in
/// its bill of materials.
///
/// # Errors
/// When it cannot be built either.
pub fn check() -> Result<()> {
    if !Tool::Auditable.is_here()? {
        return Ok(());
    }
    let output = cargo(&[
        "auditable",
        "build",
        "--quiet",
        "--locked",
        "--message-format=json-render-diagnostics",
        "--package",
        PROGRAM,
    ])
    .stderr(Stdio::inherit())
    .output()
    .context("cannot run cargo auditable")?;
    ensure!(output.status.success(), "{PROGRAM} does not build");
    let built = executable(&String::from_utf8_lossy(&output.stdout), PROGRAM)?;
    let directory = tempfile::tempdir().context("cannot create a temporary directory")?;
    let stripped = directory.path().join(PROGRAM);
    succeed(
        Command::new("strip")
            .args(["--strip-unneeded", "-o"])
            .arg(&stripped)
            .arg(&built),
    )?;
    let listed = listed(&stripped, directory.path())?;
    let bill = bill_of_materials::of(PROGRAM)?;
    let components = bill["components"].as_array().context("a bill is empty")?;
    let mut billed: BTreeSet<String> = components.iter().filter_map(identity).collect();
    billed.extend(identity(&bill["metadata"]["component"]));
    // The list may have more: cargo's metadata, which the tool reads, is of the whole workspace.
    let missing: Vec<_> = billed.difference(&listed).collect();
    ensure!(missing.is_empty(), "not in the program: {missing:?}");
    Ok(())
}

/// The packages in the list of a program.
fn listed(program: &Path, directory: &Path) -> Result<BTreeSet<String>> {
    let section = directory.join("section");
    succeed(
        Command::new("objcopy")
            .arg("--dump-section")
            .arg(format!("{SECTION}={}", section.display()))
            .arg(program)
            .arg("/dev/null"),
    )?;
    // Without the section there is no file, and objcopy succeeds.
    let list = fs::read(&section).with_context(|| format!("{PROGRAM} has no {SECTION}"))?;
    let mut text = String::new();
    ZlibDecoder::new(&list[..]).read_to_string(&mut text)?;
    let list: Value = serde_json::from_str(&text).context("the list is no JSON")?;
    let packages = list["packages"].as_array().context("the list is empty")?;
    Ok(packages.iter().filter_map(identity).collect())
}

/// Name and version.
fn identity(package: &Value) -> Option<String> {
    let (name, version) = (package["name"].as_str()?, package["version"].as_str()?);
    Some(format!("{name} {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PACK-41
    #[test]
    fn a_release_is_built_with_the_list_and_is_refused_without() {
        let recipe = fs::read_to_string(workspace_build::root().join("ci/deploy/release")).unwrap();
        assert!(recipe.contains("cargo auditable build --release --locked"));
        let reads = format!("grep -F ' {SECTION} '");
        assert!(recipe.contains(&reads), "{reads}");
    }
}
