//! The units of systemd: what they set, whether systemd takes them, and how much they leave open.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::names::files;
use crate::{checks::fail_on, workspace::root};

/// What `systemd-analyze security` may say at most, in tenths. The agent needs GPUs, and its engines compile code
/// while they run; the control plane needs a socket and a directory.
const EXPOSURE: [(&str, u32); 2] = [("orchestratord.service", 15), ("pool-managerd.service", 25)];

fn directory() -> PathBuf {
    root().join("ci/deploy/systemd")
}

/// The variables that the unit of a daemon sets.
pub(crate) fn environment(daemon: &str) -> Result<BTreeMap<String, String>> {
    let path = directory().join(format!("{daemon}.service"));
    let unit = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let assignments = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
    Ok(assignments
        .filter_map(|assignment| assignment.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// Fails when systemd does not like a unit, or one leaves more open than it may.
pub(crate) fn check() -> Result<()> {
    let installed = staged()?;
    verify(installed.path())?;
    let mut problems = Vec::new();
    for (unit, limit) in EXPOSURE {
        let exposure = exposure(&directory().join(unit))?;
        println!("{unit}: exposure {:.1}", f64::from(exposure) / 10.0);
        if exposure > limit {
            problems.push(format!(
                "{unit}: exposure {exposure}, at most {limit} (in tenths); see `systemd-analyze security --offline=true {unit}`"
            ));
        }
    }
    fail_on(&problems)
}

/// The units below a root of their own, with stand-ins for the programs that they start: a unit without its program is
/// an error to systemd.
fn staged() -> Result<tempfile::TempDir> {
    let staged = tempfile::tempdir().context("cannot create a temporary directory")?;
    for unit in files(&directory())? {
        let text = fs::read_to_string(&unit)?;
        let programs = text
            .lines()
            .filter_map(|line| line.strip_prefix("ExecStart="))
            .filter_map(|command| command.split_whitespace().next());
        let mut text = text.clone();
        for program in programs {
            text = text.replace(&format!("ExecStart={program}"), "ExecStart=/bin/true");
        }
        let name = unit.file_name().context("a unit without a name")?;
        fs::write(staged.path().join(name), text)?;
    }
    Ok(staged)
}

fn verify(units: &Path) -> Result<()> {
    let output = systemd_analyze()
        // Manual pages are not there before the package is.
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .args(files(units)?)
        .output()
        .context(MISSING)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && said.trim().is_empty(),
        "systemd-analyze verify: {}\n{said}",
        output.status
    );
    Ok(())
}

const MISSING: &str = "cannot run systemd-analyze (Debian: apt-get install systemd)";

fn systemd_analyze() -> Command {
    let mut command = Command::new("systemd-analyze");
    command.env("LC_ALL", "C.UTF-8").env("SYSTEMD_COLORS", "0");
    command
}

fn exposure(unit: &Path) -> Result<u32> {
    let output = systemd_analyze()
        .args(["security", "--offline=true", "--no-pager"])
        .arg(unit)
        .output()
        .context(MISSING)?;
    let said = String::from_utf8_lossy(&output.stdout);
    overall(&said).with_context(|| {
        format!(
            "systemd-analyze security says nothing of {}: {}",
            unit.display(),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// The figure of the last line, in tenths.
fn overall(said: &str) -> Option<u32> {
    let line = said
        .lines()
        .find(|line| line.contains("Overall exposure level"))?;
    let (_, figure) = line.split_once(": ")?;
    let (whole, tenths) = figure.split_whitespace().next()?.split_once('.')?;
    Some(whole.parse::<u32>().ok()? * 10 + tenths.parse::<u32>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_figure() {
        assert_eq!(
            overall("✗ X\n\n→ Overall exposure level for a.service: 1.3 OK 🙂"),
            Some(13)
        );
        assert_eq!(overall(""), None);
    }

    // spec: PACK-8
    #[test]
    fn a_unit_sets_what_people_find_elsewhere() {
        let environment = environment("pool-managerd").unwrap();
        assert_eq!(environment["POOL_MANAGERD_RUNTIME_DIR"], "/run/llorch/engines");
        assert_eq!(environment["POOL_MANAGERD_REQUIRE_AUTH"], "beyond-loopback");
    }
}
