//! `cargo xtask deploy-check`.

use anyhow::Result;

use crate::{
    arguments::Arguments,
    deploy::{
        manifests, names,
        package::{self, Programs},
        settings, units,
    },
    report::Report,
    workspace::Binaries,
};

pub(super) const USAGE: &str = "\
cargo xtask deploy-check

Checks what is under ci/deploy: that every variable it names is one that a daemon reads, that systemd takes the units and
finds them closed enough, and that the Debian packages are what they should be: twice the same, their programs run, their
manual pages and scripts are well formed, and that the files for containers satisfy their schemas.";

pub(super) fn run(arguments: Arguments) -> Result<()> {
    arguments.finish()?;
    let binaries = Binaries::get()?;
    let daemons = settings::daemons(&binaries)?;
    let mut report = Report::new();
    report.check("names", || names::check(&settings::names(&daemons)));
    report.check("units", units::check);
    report.check("manifests", manifests::check);
    report.check("packages", || {
        package::check(&Programs::with(binaries, !cfg!(debug_assertions))?)
    });
    report.finish()
}
