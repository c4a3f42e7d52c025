//! The script that builds a release, tried with programs that are there already.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context, Result, ensure};

use super::{
    bill_of_materials::PROGRAMS,
    package::{self, Programs},
};
use child_process::succeed;
use workspace_build::root;

/// What the archive has, below its one directory.
const CONTENTS: [&str; 9] = [
    "orchestratord",
    "pool-managerd",
    "llorch",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "systemd/orchestratord.socket",
    "default/pool-managerd",
    "sysusers/llorch.conf",
];

/// Fails when the script does, or when its checksums, archive or packages are not what they should
/// be.
pub fn check(programs: &Programs) -> Result<()> {
    let directory = tempfile::tempdir().context("cannot create a temporary directory")?;
    let out = directory.path().join("out");
    succeed(
        Command::new(root().join("ci/deploy/release"))
            .arg("--programs")
            .arg(programs.directory())
            .arg("--out")
            .arg(&out),
    )?;
    succeed(Command::new("sha256sum").current_dir(&out).args([
        "--check",
        "--strict",
        "SHA256SUMS",
    ]))?;
    let sums = fs::read_to_string(out.join("SHA256SUMS"))?;
    let summed: BTreeSet<&str> = sums
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    let mut there = BTreeSet::new();
    for entry in fs::read_dir(&out)? {
        there.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    there.remove("SHA256SUMS");
    ensure!(
        there.iter().map(String::as_str).eq(summed),
        "SHA256SUMS does not name what is there: {there:?}"
    );
    let version = package::version()?;
    let archive = there
        .iter()
        .find(|name| name.ends_with(".tar.gz"))
        .context("a release has no archive")?;
    let packages = there.iter().filter(|name| name.ends_with(".deb")).count();
    ensure!(packages == 3, "a release has {packages} packages");
    for program in PROGRAMS {
        let bill = format!("{program}.cdx.json");
        ensure!(there.contains(&bill), "a release has no {bill}");
    }
    succeed(
        Command::new("tar")
            .arg("-xzf")
            .arg(out.join(archive))
            .arg("-C")
            .arg(directory.path()),
    )?;
    let unpacked = directory.path().join(archive.trim_end_matches(".tar.gz"));
    for file in CONTENTS {
        ensure!(unpacked.join(file).is_file(), "{archive} has no {file}");
    }
    let said = succeed(Command::new(unpacked.join("orchestratord")).arg("--version"))?;
    ensure!(
        said.contains(&version),
        "orchestratord of {archive} says {said:?}"
    );
    Ok(())
}
