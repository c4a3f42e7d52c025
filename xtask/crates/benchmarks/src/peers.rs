//! Where the programs come from that we compare with.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use workspace_build::target;

/// The routers of the engines' own projects. Pinned, so that two runs compare with the same.
const ROUTERS: [(&str, &str); 2] = [("sglang-router", "0.3.2"), ("vllm-router", "0.1.17")];

/// Where Debian has servers that are not in everybody's search path.
const MORE_DIRECTORIES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// The directory of everything the benchmark keeps between runs.
pub(super) fn directory() -> PathBuf {
    target().join("bench")
}

/// A Debian package's program, installed when that is possible and allowed.
///
/// # Errors
/// When it is not there and cannot be had.
pub(super) fn debian(package: &str, program: &str, may_install: bool) -> Result<PathBuf> {
    if let Some(found) = find(program) {
        return Ok(found);
    }
    ensure!(may_install, "not installed");
    ensure!(
        rustix::process::geteuid().is_root(),
        "not installed, and only root can: apt-get install {package}"
    );
    quietly(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends", package]);
    quietly(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
    find(program).with_context(|| format!("the package {package} has no {program}"))
}

/// A router from PyPI, in a virtual environment under the target directory.
///
/// # Errors
/// When it is not there and cannot be had.
pub(super) fn router(name: &str, may_install: bool) -> Result<PathBuf> {
    let environment = directory().join("venv");
    let program = environment.join("bin").join(name);
    if program.is_file() {
        return Ok(program);
    }
    ensure!(may_install, "not installed");
    let Some((name, version)) = ROUTERS.iter().find(|(known, _)| *known == name) else {
        bail!("unknown router");
    };
    std::fs::create_dir_all(directory())?;
    quietly(
        Command::new("python3")
            .args(["-m", "venv"])
            .arg(&environment),
    )?;
    let mut install = Command::new(environment.join("bin/pip"));
    quietly(install.args(["install", "--quiet", &format!("{name}=={version}")]))?;
    ensure!(
        program.is_file(),
        "the package {name} has no {}",
        program.display()
    );
    Ok(program)
}

/// The version a program tells, in one line.
pub(super) fn version_of(program: &Path, option: &str) -> String {
    let output = Command::new(program).arg(option).output();
    let text = output.map_or_else(
        |_| String::new(),
        |output| {
            [output.stdout, output.stderr]
                .concat()
                .iter()
                .map(|&b| char::from(b))
                .collect()
        },
    );
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// The pinned version of a router.
pub(super) fn router_version(name: &str) -> &'static str {
    ROUTERS
        .iter()
        .find(|(known, _)| *known == name)
        .map_or("", |(_, version)| version)
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(MORE_DIRECTORIES.map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// Runs a command whose output matters only when it fails.
fn quietly(command: &mut Command) -> Result<()> {
    let name = command.get_program().display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    ensure!(
        output.status.success(),
        "{name}: {}",
        last.unwrap_or("failed")
    );
    Ok(())
}
