//! `cargo xtask test` and `cargo xtask e2e`.

use anyhow::Result;

use crate::{
    arguments::Arguments,
    engine::{VARIABLE, find_or_fetch},
    report::{Counts, Report},
    runner::{Runner, Selection, doctests},
    workspace::{BIN_DIR_VARIABLE, Binaries, build_llorch},
};

pub(super) const USAGE: &str = "\
cargo xtask test [--quick]

Runs the tests of all crates, those in the documentation, and those of the real daemons with a real engine.
Uses nextest when it is installed.

  --quick  only the tests of the crates";

pub(super) const E2E_USAGE: &str = "\
cargo xtask e2e [FILTER]

Builds the daemons, gets an engine and runs the tests in xtask/tests/e2e whose names contain FILTER.
$LLAMA_SERVER names an engine to use instead of the one that is fetched.";

pub(super) fn run(mut arguments: Arguments) -> Result<()> {
    let quick = arguments.flag("--quick");
    arguments.finish()?;
    let mut report = Report::new();
    add_tests(&mut report, quick);
    report.finish()
}

/// The test steps, for `test` and `ci` alike.
pub(super) fn add_tests(report: &mut Report, quick: bool) {
    let runner = Runner::detect();
    report.tests("tests", || runner.run(&Selection::Workspace, &[]));
    if !quick {
        report.tests("doctests", doctests);
        report.tests("e2e", || e2e(runner, None));
    }
}

pub(super) fn run_e2e(mut arguments: Arguments) -> Result<()> {
    let filter = arguments.positional();
    arguments.finish()?;
    let mut report = Report::new();
    report.tests("e2e", || e2e(Runner::detect(), filter));
    report.finish()
}

fn e2e(runner: Runner, filter: Option<String>) -> Result<Counts> {
    let binaries = Binaries::build()?;
    build_llorch()?;
    with_daemons(runner, &binaries, &Selection::E2e(filter))
}

/// The tests of daemons that export spans.
pub(super) fn otlp() -> Result<Counts> {
    with_daemons(Runner::detect(), &Binaries::exporting()?, &Selection::Otlp)
}

/// Gets once what every test needs, and tells the tests where it is.
fn with_daemons(runner: Runner, binaries: &Binaries, selection: &Selection) -> Result<Counts> {
    let engine = find_or_fetch()?;
    let directory = binaries.directory().to_string_lossy().into_owned();
    let environment = [
        (BIN_DIR_VARIABLE, directory.as_str()),
        (VARIABLE, &engine.to_string_lossy()),
    ];
    runner.run(selection, &environment)
}
