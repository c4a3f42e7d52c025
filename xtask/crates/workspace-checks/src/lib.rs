//! Rules of this workspace that the compiler does not check.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "xtask prints to a terminal; there is no log"
)]

mod cycles;
pub mod dependencies;
mod documents;
mod features;
pub mod layers;
pub mod limits;
pub mod metrics;
mod rust_text;
mod source_files;
pub mod tidy;
pub mod trace;
mod width;
mod words;

use anyhow::{Result, bail};

pub use self::metrics::{Documented as DocumentedMetric, documented as documented_metrics};

/// Fails with all problems, when there are any.
///
/// # Errors
/// With the list of problems.
pub fn fail_on(problems: &[String]) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    bail!(
        "{} problem(s):\n  {}",
        problems.len(),
        problems.join("\n  ")
    )
}
