//! Programs of the Python package index, for checks that nobody has written in Rust.

use std::{fs::File, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{process::succeed, workspace};

/// The directory of programs of a virtual environment `name` with these packages, installed once. Each should name
/// its version: another set of them is another environment.
///
/// # Errors
/// When they cannot be installed.
pub fn environment(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let versions: Vec<String> = packages
        .iter()
        .map(|package| package.replace("==", "-"))
        .collect();
    let environment = workspace::target()
        .join("python")
        .join(format!("{name}-{}", versions.join("-")));
    let programs = environment.join("bin");
    std::fs::create_dir_all(&environment)
        .with_context(|| format!("cannot create {}", environment.display()))?;
    // Tests are processes of their own: the first installs, the others wait for it here.
    let lock = File::create(environment.join(".lock"))?;
    lock.lock()?;
    let finished = environment.join(".finished");
    if !finished.is_file() {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&environment))
            .context("no virtual environment (Debian: apt-get install python3-venv)")?;
        let mut install = Command::new(programs.join("python"));
        install.args(["-m", "pip", "install", "--quiet"]).args(packages);
        succeed(&mut install)?;
        File::create(finished)?;
    }
    Ok(programs)
}
