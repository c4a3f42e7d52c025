//! `cargo xtask deb`.

use std::path::PathBuf;

use anyhow::Result;

use crate::arguments::Arguments;
use deploy_checks::package::{self, Compression, Programs};
use workspace_build::{Binaries, target};

pub(super) const USAGE: &str = "\
cargo xtask deb [--release] [--fast] [--out DIR]

Builds the Debian packages. Needs dpkg-deb, strip and gzip.

  --release  packs optimized daemons instead of those that cargo builds for tests
  --fast     packs without compression
  --out DIR  the directory of the packages (target/deb)";

pub(super) fn run(mut arguments: Arguments) -> Result<()> {
    let optimized = arguments.flag("--release");
    let compression = if arguments.flag("--fast") {
        Compression::Fast
    } else {
        Compression::Best
    };
    let out: Option<PathBuf> = arguments.value("--out")?;
    arguments.finish()?;
    let binaries = if optimized {
        Binaries::optimized(false)?
    } else {
        Binaries::get()?
    };
    let out = out.unwrap_or_else(|| target().join("deb"));
    let programs = Programs::with(binaries, optimized)?;
    for file in package::build(&programs, &out, compression)? {
        println!("{}", file.display());
    }
    Ok(())
}
