//! A real inference engine for tests and demos: `llama-server` from llama.cpp.
//!
//! [`find_or_fetch`] finds one or gets a pinned one; [`LlamaServer`] runs it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test run and xtask print to a terminal; there is no log"
)]

mod fetch;
mod server;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

pub use self::server::{EngineOptions, LlamaServer};

/// Names an executable to use instead of a fetched one.
pub const VARIABLE: &str = "LLAMA_SERVER";

/// The path of a `llama-server` that runs: `$LLAMA_SERVER`, else the first in `PATH`, else the
/// pinned one, which is downloaded at the first time. Progress is told to standard error.
///
/// # Errors
/// When there is none and none can be had; the error says what to do.
pub fn find_or_fetch() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        let path = PathBuf::from(path);
        return match version(&path) {
            Ok(_) => Ok(path),
            Err(reason) => bail!("{VARIABLE}={}: {reason}", path.display()),
        };
    }
    if let Some(path) = in_path() {
        return Ok(path);
    }
    fetch::cached_or_downloaded()
}

/// The first one in `PATH` that runs.
fn in_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join("llama-server"))
        .find(|candidate| candidate.is_file() && version(candidate).is_ok())
}

/// What the executable says its version is; or why it does not run.
fn version(path: &Path) -> Result<String, String> {
    let output = Command::new(path)
        .arg("--version")
        .output()
        .map_err(|error| format!("it does not start: {error}"))?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if output.status.success() {
        Ok(text
            .lines()
            .find(|line| line.starts_with("version"))
            .unwrap_or("version unknown")
            .to_owned())
    } else {
        Err(text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn asks_an_executable_for_its_version() {
        let directory = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let good = script(
            "good",
            "#!/bin/sh\necho 'noise'; echo 'version: 1 (abc)' >&2\n",
        );
        let bad = script(
            "bad",
            "#!/bin/sh\necho 'libgomp.so.1: cannot open shared object file' >&2; exit 127\n",
        );
        assert_eq!(version(&good).unwrap(), "version: 1 (abc)");
        assert!(version(&bad).unwrap_err().contains("libgomp.so.1"));
        assert!(
            version(&directory.path().join("none"))
                .unwrap_err()
                .contains("does not start")
        );
    }
}
