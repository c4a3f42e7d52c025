//! `cargo xtask openapi`.

use anyhow::Result;

use crate::arguments::Arguments;
use reference_docs::Document;
use workspace_build::Binaries;

pub(super) const USAGE: &str = "\
cargo xtask openapi [--write]

Fails when a file of .docs/api differs from the API of the daemons.

  --write  writes the files";

pub(super) fn run(mut arguments: Arguments) -> Result<()> {
    let write = arguments.flag("--write");
    arguments.finish()?;
    Document::of_apis(&Binaries::get()?)?
        .iter()
        .try_for_each(|document| {
            if write {
                document.write()
            } else {
                document.check()
            }
        })
}
