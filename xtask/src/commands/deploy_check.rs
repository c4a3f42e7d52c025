//! `cargo xtask deploy-check`.

use anyhow::{Result, bail};

use crate::{arguments::Arguments, report::Report};
use deploy_checks::{
    auditable, home_engines, installed, machine, manifests, names,
    package::{self, Programs},
    release, units,
};
use reference_docs::settings;
use workspace_build::Binaries;

pub(super) const USAGE: &str = "\
cargo xtask deploy-check [--boot]

Checks ci/deploy: every variable is one that a daemon reads; systemd accepts the units and their
exposure is low; the Debian packages are reproducible, their programs run, and their manual pages
and scripts are well formed; a release matches its checksums, and its programs list what they are
built from; the files for containers satisfy their
schemas. As root with mmdebstrap, it also installs, upgrades, removes and purges the packages in a
fresh root of Debian.

  --boot  also runs them under systemd in a namespace container: start, join, crash, upgrade under
          load, purge";

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
    report.check("auditable", auditable::check);
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
