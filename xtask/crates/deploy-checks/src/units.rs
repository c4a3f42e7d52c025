//! The units of systemd: what they set, whether systemd takes them, and how much they leave open.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::names::files;
use workspace_build::root;
use workspace_checks::fail_on;

/// What `systemd-analyze security` may say at most, in tenths. The agent needs GPUs, and its
/// engines compile code while they run; the control plane needs a socket and a directory.
const EXPOSURE: [(&str, u32); 2] = [("orchestratord.service", 15), ("pool-managerd.service", 25)];

/// The control plane that starts engines itself: its unit, what makes its sandbox as wide as the
/// agent's, and the exposure that is allowed then.
const WITH_ENGINES: (&str, &str, u32) = (
    "orchestratord.service",
    "ci/deploy/dropins/orchestratord-engines.conf",
    25,
);

fn directory() -> PathBuf {
    root().join("ci/deploy/systemd")
}

/// A unit as systemd reads it with a drop-in: what comes later counts, and lists go on.
fn with_dropin(unit: &str, dropin: &str) -> Result<String> {
    let read = |path: PathBuf| {
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let (unit, dropin) = (read(directory().join(unit))?, read(root().join(dropin))?);
    Ok(format!("{unit}\n{dropin}"))
}

/// Fails when systemd does not like a unit, or one leaves more open than it may.
pub fn check() -> Result<()> {
    let installed = staged()?;
    verify(installed.path())?;
    let (unit, dropin, limit) = WITH_ENGINES;
    let with_engines = tempfile::tempdir().context("cannot create a temporary directory")?;
    let merged = with_engines.path().join(unit);
    fs::write(&merged, with_dropin(unit, dropin)?)?;
    let for_systemd = staged()?;
    fs::write(
        for_systemd.path().join(unit),
        with_stand_ins(&fs::read_to_string(&merged)?),
    )?;
    verify(for_systemd.path())?;

    let mut problems = Vec::new();
    let alone = EXPOSURE.map(|(unit, limit)| (unit.to_owned(), directory().join(unit), limit));
    let with_engines = (format!("{unit} with {dropin}"), merged, limit);
    for (unit, path, limit) in alone.into_iter().chain([with_engines]) {
        let exposure = exposure(&path)?;
        println!("{unit}: exposure {:.1}", f64::from(exposure) / 10.0);
        if exposure > limit {
            problems.push(format!(
                "{unit}: exposure {exposure}, at most {limit} (in tenths); see `systemd-analyze \
                 security --offline=true {unit}`"
            ));
        }
    }
    fail_on(&problems)
}

/// The units below a root of their own, with stand-ins for the programs that they start: a unit
/// without its program is an error to systemd.
fn staged() -> Result<tempfile::TempDir> {
    let staged = tempfile::tempdir().context("cannot create a temporary directory")?;
    for unit in files(&directory())? {
        let text = with_stand_ins(&fs::read_to_string(&unit)?);
        let name = unit.file_name().context("a unit without a name")?;
        fs::write(staged.path().join(name), text)?;
    }
    Ok(staged)
}

fn with_stand_ins(unit: &str) -> String {
    let programs = unit
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart="))
        .filter_map(|command| command.split_whitespace().next());
    programs.fold(unit.to_owned(), |text, program| {
        text.replace(&format!("ExecStart={program}"), "ExecStart=/bin/true")
    })
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
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn reads_the_figure() {
        assert_eq!(
            overall("✗ X\n\n→ Overall exposure level for a.service: 1.3 OK 🙂"),
            Some(13)
        );
        assert_eq!(overall(""), None);
    }

    /// What a unit sets in the end, by name: what comes later counts, an empty value takes back a
    /// list.
    fn settings(text: &str) -> BTreeMap<&str, Vec<&str>> {
        let mut settings = BTreeMap::<&str, Vec<&str>>::new();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for (name, value) in lines.filter_map(|line| line.split_once('=')) {
            let values = settings.entry(name).or_default();
            let goes_on =
                ["DeviceAllow", "RestrictAddressFamilies", "SystemCallFilter"].contains(&name);
            if value.is_empty() || !goes_on {
                values.clear();
            }
            values.extend(value.split_whitespace());
        }
        settings
    }

    // spec: PACK-30
    #[test]
    fn with_engines_of_its_own_the_control_plane_has_the_sandbox_of_the_agent() {
        let (unit, dropin, _) = WITH_ENGINES;
        let control_plane = with_dropin(unit, dropin).unwrap();
        let agent = fs::read_to_string(directory().join("pool-managerd.service")).unwrap();
        let (ours, theirs) = (settings(&control_plane), settings(&agent));
        for name in [
            "KillMode",
            "OOMPolicy",
            "LimitMEMLOCK",
            "CacheDirectory",
            "ReadWritePaths",
            "DevicePolicy",
            "DeviceAllow",
            "TemporaryFileSystem",
            "ProtectHome",
            "RemoveIPC",
            "RestrictAddressFamilies",
            "SystemCallFilter",
            "TimeoutStopSec",
        ] {
            assert_eq!(ours[name], theirs[name], "{name}");
        }
        for closed in [
            "MemoryDenyWriteExecute",
            "PrivateDevices",
            "PrivateTmp",
            "PrivateUsers",
        ] {
            assert_eq!(ours[closed], ["no"], "{closed}: the agent leaves it open");
            assert!(!theirs.contains_key(closed), "{closed}");
        }
    }
}
