//! `cargo xtask settings`.

use anyhow::Result;

use crate::arguments::Arguments;
use reference_docs::settings;
use workspace_build::Binaries;

pub(super) const USAGE: &str = "\
cargo xtask settings [--write]

Fails when .docs/CONFIGURATION.md or a file of ci/deploy/default differs from the settings of the
daemons.

  --write  writes the files";

pub(super) fn run(mut arguments: Arguments) -> Result<()> {
    let write = arguments.flag("--write");
    arguments.finish()?;
    let daemons = settings::daemons(&Binaries::get()?)?;
    settings::documents(&daemons)?
        .iter()
        .try_for_each(|document| {
            if write {
                document.write()
            } else {
                document.check()
            }
        })
}
