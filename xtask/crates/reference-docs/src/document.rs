//! A file that is written from the code.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use workspace_build::{Binaries, root};

/// A file that is written from the code.
#[derive(Debug)]
pub struct Document {
    path: PathBuf,
    text: String,
    /// The command that writes it.
    command: &'static str,
}

impl Document {
    /// The file at `path` below the workspace's root, which `command` writes.
    pub(crate) fn new(path: &str, text: String, command: &'static str) -> Self {
        Self {
            path: root().join(path),
            text,
            command,
        }
    }

    /// The OpenAPI document of each daemon.
    ///
    /// # Errors
    /// When a daemon cannot be run.
    pub fn of_apis(binaries: &Binaries) -> Result<[Self; 2]> {
        let of = |name: &str, program: &Path| -> Result<Self> {
            Ok(Self::new(
                &format!(".docs/api/{name}.json"),
                output_of(program, "--openapi")?,
                "cargo xtask openapi --write",
            ))
        };
        Ok([
            of("orchestratord", &binaries.orchestratord)?,
            of("pool-managerd", &binaries.pool_managerd)?,
        ])
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self) -> Result<()> {
        std::fs::write(&self.path, &self.text)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Compares the file with the code.
    ///
    /// # Errors
    /// When they differ, or the file cannot be read.
    pub fn check(&self) -> Result<()> {
        let path = &self.path;
        let written = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            written == self.text,
            "{} is not what the code says; run `{}`",
            path.display(),
            self.command
        );
        Ok(())
    }
}

/// What a daemon prints to standard output.
pub(crate) fn output_of(program: &Path, argument: &str) -> Result<String> {
    let output = Command::new(program)
        .arg(argument)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let name = program.display();
    ensure!(
        output.status.success(),
        "{name} {argument}: {}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
