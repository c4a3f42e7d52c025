//! `cargo xtask deploy-check`.

use anyhow::Result;

use crate::{
    arguments::Arguments,
    deploy::{names, settings, units},
    report::Report,
    workspace::Binaries,
};

pub(super) const USAGE: &str = "\
cargo xtask deploy-check

Checks what is under ci/deploy: that every variable it names is one that a daemon reads, and that systemd takes the units
and finds them closed enough.";

pub(super) fn run(arguments: Arguments) -> Result<()> {
    arguments.finish()?;
    let daemons = settings::daemons(&Binaries::get()?)?;
    let mut report = Report::new();
    report.check("names", || names::check(&settings::names(&daemons)));
    report.check("units", units::check);
    report.finish()
}
