//! `cargo xtask limits`.

use anyhow::Result;

use crate::arguments::Arguments;
use reference_docs::limits;
use workspace_build::Binaries;

pub(super) const USAGE: &str = "\
cargo xtask limits [--write]

Fails when .docs/LIMITS.md differs from the limits of the daemons, or when a constant of a library
that is called a limit is in no table of limits.

  --write  writes the document";

pub(super) fn run(mut arguments: Arguments) -> Result<()> {
    let write = arguments.flag("--write");
    arguments.finish()?;
    let document = limits::document(&Binaries::get()?)?;
    if write {
        document.write()
    } else {
        document.check()
    }
}
