//! Where this workspace is, and its programs built by cargo.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Names a directory with ready-made daemons, so that a whole test run builds them once.
pub const BIN_DIR_VARIABLE: &str = "LLORCH_BIN_DIR";

/// How many directories this crate is below the root: `libs/test-support/workspace-build`.
const DEPTH: usize = 3;

/// The workspace's root directory.
#[must_use]
pub fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(DEPTH).unwrap_or(manifest)
}

/// The target directory.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// A cargo command that runs in the workspace's root.
#[must_use]
pub fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(root()).args(arguments);
    command
}

/// The two daemons.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The control plane.
    pub orchestratord: PathBuf,
    /// The agent of a node.
    pub pool_managerd: PathBuf,
}

impl Binaries {
    /// The daemons in the directory that [`BIN_DIR_VARIABLE`] names; without it, built ones.
    ///
    /// # Errors
    /// When they are not there or cannot be built.
    pub fn get() -> Result<Self> {
        match std::env::var_os(BIN_DIR_VARIABLE) {
            Some(directory) => Self::in_directory(Path::new(&directory)),
            None => Self::build(),
        }
    }

    /// The daemons in `directory`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn in_directory(directory: &Path) -> Result<Self> {
        // The daemons run in directories of their own.
        let directory = std::path::absolute(directory).context("the current directory is gone")?;
        Ok(Self {
            orchestratord: program_in(&directory, "orchestratord")?,
            pool_managerd: program_in(&directory, "pool-managerd")?,
        })
    }

    /// Builds both in the profile of this crate.
    ///
    /// # Errors
    /// When cargo fails.
    pub fn build() -> Result<Self> {
        if cfg!(feature = "otlp") {
            return Self::exporting();
        }
        Self::from_messages(&build(&DAEMONS, profile())?)
    }

    /// Builds both so that they can export spans.
    ///
    /// # Errors
    /// When cargo fails.
    pub fn exporting() -> Result<Self> {
        let options = [profile(), &["--features", "otlp"]].concat();
        Self::from_messages(&build(&DAEMONS, &options)?)
    }

    /// As [`Binaries::get`], but with all optimizations when they have to be built, and with the
    /// symbols a profiler needs when asked for.
    ///
    /// # Errors
    /// When they are not there or cannot be built.
    pub fn optimized(symbols: bool) -> Result<Self> {
        if let Some(directory) = std::env::var_os(BIN_DIR_VARIABLE) {
            return Self::in_directory(Path::new(&directory));
        }
        let with_symbols = [
            "--release",
            "--config",
            "profile.release.debug=\"line-tables-only\"",
            "--config",
            "build.rustflags=[\"-Cforce-frame-pointers=yes\"]",
        ];
        Self::from_messages(&build(
            &DAEMONS,
            if symbols {
                &with_symbols
            } else {
                &["--release"]
            },
        )?)
    }

    fn from_messages(messages: &str) -> Result<Self> {
        Ok(Self {
            orchestratord: executable(messages, "orchestratord")?,
            pool_managerd: executable(messages, "pool-managerd")?,
        })
    }

    /// The directory both are in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.orchestratord.parent().unwrap_or(Path::new("."))
    }
}

/// The command line tool, ready-made or freshly built as the daemons of [`Binaries::get`] are.
///
/// # Errors
/// When it is not there or cannot be built.
pub fn llorch() -> Result<PathBuf> {
    match std::env::var_os(BIN_DIR_VARIABLE) {
        Some(directory) => program_in(&std::path::absolute(directory)?, LLORCH),
        None => build_llorch(),
    }
}

/// Builds the command line tool in the profile of this crate.
///
/// # Errors
/// When cargo fails.
pub fn build_llorch() -> Result<PathBuf> {
    executable(&build(&[LLORCH], profile())?, LLORCH)
}

/// The package of the command line tool.
const LLORCH: &str = "llorch";

fn profile() -> &'static [&'static str] {
    if cfg!(debug_assertions) {
        &[]
    } else {
        &["--release"]
    }
}

fn program_in(directory: &Path, name: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    ensure!(
        path.is_file(),
        "{BIN_DIR_VARIABLE}: there is no {}",
        path.display()
    );
    Ok(path)
}

/// The packages of the two daemons.
const DAEMONS: [&str; 2] = ["orchestratord", "pool-managerd"];

/// Builds packages and returns cargo's messages, for [`executable`].
///
/// # Errors
/// When cargo fails.
pub fn build(packages: &[&str], options: &[&str]) -> Result<String> {
    let mut command = cargo(&[
        "build",
        "--quiet",
        "--message-format=json-render-diagnostics",
    ]);
    command.args(options);
    for package in packages {
        command.args(["-p", package]);
    }
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "{} do not build",
        packages.join(", ")
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The path of the binary `name` in cargo's messages.
pub fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| {
            message["target"]["name"] == name && message["reason"] == "compiler-artifact"
        })
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built no executable {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_executable_in_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"anyhow"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"orchestratord"},"executable":"/t/debug/orchestratord"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(
            executable(messages, "orchestratord").unwrap(),
            Path::new("/t/debug/orchestratord")
        );
        assert!(executable(messages, "pool-managerd").is_err());
        assert!(root().join("Cargo.lock").is_file());
    }
}
