//! `cargo xtask deploy-check`.

use anyhow::{Result, bail};

use crate::{arguments::Arguments, report::Report};
use deploy_checks::{
    home_engines, installed, machine, manifests, names,
    package::{self, Programs},
    release, units,
};
use reference_docs::settings;
use workspace_build::Binaries;

pub(super) const USAGE: &str = "\
cargo xtask deploy-check [--boot]

Checks what is under ci/deploy: that every variable it names is one that a daemon reads, that \
                                systemd takes the units and
finds them closed enough, and that the Debian packages are what they should be: twice the same, \
                                their programs run, their
manual pages and scripts are well formed, that a release is what its checksums say, and that
the files for containers satisfy their schemas. Where a fresh root of
Debian may be made (root, mmdebstrap), the packages are installed, upgraded, removed and purged in \
                                it.

  --boot  also under systemd, in a machine of namespaces: start, join, crash, upgrade under \
                                requests, purge";

pub(super) fn run(mut arguments: Arguments) -> Result<()> {
    let boot = arguments.flag("--boot");
    arguments.finish()?;
    let binaries = Binaries::get()?;
    let daemons = settings::daemons(&binaries)?;
    let mut report = Report::new();
    report.check("names", || names::check(&settings::names(&daemons)));
    report.check("units", units::check);
    report.check("manifests", manifests::check);
    let programs = Programs::with(binaries, !cfg!(debug_assertions))?;
    report.check("packages", || package::check(&programs));
    report.check("release", || release::check(&programs));
    match machine::missing() {
        Some(why) if boot => report.check("boot", || bail!("{why}")),
        Some(why) => println!("the packages are not installed on a fresh machine: {why}"),
        None => {
            report.check("install", || installed::check(&programs));
            if boot {
                report.check("boot", || installed::check_booted(&programs));
                report.check("home engines", || {
                    home_engines::check_home_engines(&programs)
                });
            }
        }
    }
    report.finish()
}
