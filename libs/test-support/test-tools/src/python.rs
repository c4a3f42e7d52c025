//! Packages of the Python package index, for checks that do not exist in Rust. They need Python and
//! pip, and are installed below `target/` only.

use std::{
    env,
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use child_process::succeed;

/// Where Python looks for modules first.
const MODULES: &str = "PYTHONPATH";

/// Packages with all that they depend on, in a directory of their own.
#[derive(Debug)]
pub struct Packages {
    directory: PathBuf,
}

impl Packages {
    /// Installs these packages below `name`, once. Each should name its version: another set of
    /// them is another directory.
    ///
    /// # Errors
    /// When they cannot be installed.
    pub fn install(name: &str, packages: &[&str]) -> Result<Self> {
        let versions: Vec<String> = packages
            .iter()
            .map(|package| package.replace("==", "-"))
            .collect();
        let directory = workspace_build::target()
            .join("pip")
            .join(format!("{name}-{}", versions.join("-")));
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        // Tests are processes of their own: the first installs, the others wait for it here.
        let lock = File::create(directory.join(".lock"))?;
        lock.lock()?;
        let finished = directory.join(".finished");
        if !finished.is_file() {
            let mut install = Command::new("python3");
            install
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                ])
                // Of an earlier try that was interrupted.
                .args(["--upgrade", "--target"])
                .arg(&directory)
                .args(packages);
            succeed(&mut install)
                .with_context(|| format!("pip cannot install {}", packages.join(" ")))?;
            File::create(finished)?;
        }
        Ok(Self { directory })
    }

    /// Python with these packages, and with the modules in `more`.
    ///
    /// # Errors
    /// When a path has a colon.
    pub fn python(&self, more: &[&Path]) -> Result<Command> {
        let directories = more.iter().copied().chain([self.directory.as_path()]);
        let modules: OsString =
            env::join_paths(directories).context("a path that Python cannot be told")?;
        let mut command = Command::new("python3");
        command
            .env(MODULES, modules)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    }

    /// A program that came with the packages; for [`python`](Self::python), when it is a script.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join("bin").join(name)
    }
}
