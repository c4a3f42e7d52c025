//! A real inference engine for tests and demos: `llama-server` from llama.cpp.
//!
//! [`find_or_fetch`] finds one or gets a pinned one; [`LlamaServer`] runs it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test run and xtask print to a terminal; there is no log"
)]

mod executable;
mod fetch;
mod server;

use std::path::PathBuf;

use anyhow::{Result, bail};

use self::executable::version;
pub use self::{
    executable::VARIABLE,
    server::{EngineOptions, LlamaServer},
};

/// The path of a `llama-server` that runs: `$LLAMA_SERVER`, else the first in `PATH`, else the
/// pinned one, which is downloaded once. Progress is printed to standard error.
///
/// # Errors
/// When there is none and the download fails; the error says what to do.
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
