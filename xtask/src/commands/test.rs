//! `cargo xtask test` and `cargo xtask e2e`.

use std::ffi::OsStr;

use anyhow::Result;

use crate::{
    arguments::Arguments,
    report::{Counts, Report},
    runner::{Runner, Selection, doctests},
};
use e2e_tests::WRITE_CLIENTS;
use llama_server::{VARIABLE, find_or_fetch};
use test_tools::LeftOut;
use workspace_build::{BIN_DIR_VARIABLE, Binaries, build_llorch};

pub(super) const USAGE: &str = "\
cargo xtask test [--quick]

Runs the tests of all crates, of the documentation, and of the real daemons with a real engine. Uses
nextest when it is installed. Tests that need a missing tool are left out and listed at the end.

  --quick  only the tests of the crates";

pub(super) const E2E_USAGE: &str = "\
cargo xtask e2e [FILTER | --engines | --write-clients]

Builds the daemons, gets an engine, and runs the tests in xtask/crates/e2e-tests/tests/e2e whose
names contain FILTER. $LLAMA_SERVER names an engine to use instead of the one that is fetched.

  --engines  instead, run the tests with other real engines (tests/engines). Their installation
             into target/ takes ten minutes and six gigabytes the first time
  --write-clients
             instead, run the tests of the official clients, and write .docs/CLIENTS.md from what
             they find";

pub(super) fn run(mut arguments: Arguments) -> Result<()> {
    let quick = arguments.flag("--quick");
    arguments.finish()?;
    let mut report = Report::new();
    add_tests(&mut report, quick)?;
    report.finish()
}

/// The test steps, for `test` and `ci` alike.
///
/// # Errors
/// When what the tests leave out cannot be noted.
pub(super) fn add_tests(report: &mut Report, quick: bool) -> Result<()> {
    let (runner, left_out) = (Runner::detect(), LeftOut::new()?);
    report.tests("tests", || {
        runner.run(&Selection::Workspace, &[noted_in(&left_out)])
    });
    if !quick {
        report.tests("doctests", doctests);
        let noted = [noted_in(&left_out)];
        report.tests("e2e", || e2e(runner, &Selection::E2e(None), &noted));
    }
    report.leave_out(left_out.lines()?);
    Ok(())
}

/// Tells the tests where to note what they leave out.
fn noted_in(left_out: &LeftOut) -> (&'static str, &OsStr) {
    (test_tools::VARIABLE, left_out.path().as_os_str())
}

pub(super) fn run_e2e(mut arguments: Arguments) -> Result<()> {
    let engines = arguments.flag("--engines");
    let write_clients = arguments.flag("--write-clients");
    let filter = arguments.positional();
    arguments.finish()?;
    let mut report = Report::new();
    let left_out = LeftOut::new()?;
    let selection = if engines {
        Selection::Engines
    } else if write_clients {
        Selection::E2e(Some("official_clients".to_owned()))
    } else {
        Selection::E2e(filter)
    };
    let write = write_clients.then(|| (WRITE_CLIENTS, OsStr::new("1")));
    let more: Vec<_> = [noted_in(&left_out)].into_iter().chain(write).collect();
    report.tests("e2e", || e2e(Runner::detect(), &selection, &more));
    report.leave_out(left_out.lines()?);
    report.finish()
}

fn e2e(runner: Runner, selection: &Selection, environment: &[(&str, &OsStr)]) -> Result<Counts> {
    let binaries = Binaries::build()?;
    build_llorch()?;
    with_daemons(runner, &binaries, selection, environment)
}

/// The tests of daemons that export spans.
pub(super) fn otlp() -> Result<Counts> {
    with_daemons(
        Runner::detect(),
        &Binaries::exporting()?,
        &Selection::Otlp,
        &[],
    )
}

/// Gets once what every test needs, and tells the tests where it is.
fn with_daemons(
    runner: Runner,
    binaries: &Binaries,
    selection: &Selection,
    more: &[(&str, &OsStr)],
) -> Result<Counts> {
    let engine = find_or_fetch()?;
    let own = [
        (BIN_DIR_VARIABLE, binaries.directory().as_os_str()),
        (VARIABLE, engine.as_os_str()),
    ];
    runner.run(selection, &[&own, more].concat())
}
