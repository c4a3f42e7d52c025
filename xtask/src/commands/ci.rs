//! `cargo xtask ci`.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::test::{add_tests, otlp};
use crate::{arguments::Arguments, report::Report};
use workspace_build::cargo;
use workspace_checks::{dependencies, layers, metrics, tidy, trace};

pub(super) const USAGE: &str = "\
cargo xtask ci

Runs all checks: formatting, lints, documentation, the rules of the workspace, all tests, and
packaging. Every step runs even when an earlier one fails. The last line counts tests and checks.";

pub(super) fn run(arguments: Arguments) -> Result<()> {
    arguments.finish()?;
    let mut report = Report::new();
    // What is fast and fails often comes first.
    report.check("fmt", || succeed(&mut cargo(&["fmt", "--all", "--check"])));
    report.check("tidy", tidy::check);
    report.check("layers", layers::check);
    report.check("dependencies", dependencies::check);
    report.check("trace", trace::check);
    report.check("metrics", metrics::check);
    report.check("clippy", || {
        succeed(&mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]))
    });
    report.check("doc", || {
        let mut command = cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
        succeed(command.env("RUSTDOCFLAGS", "-D warnings"))
    });
    add_tests(&mut report, false)?;
    report.check("otlp lints", || {
        let mut command = cargo(&["clippy", "--quiet", "--all-targets", "--features"]);
        command.arg("otlp,e2e-tests/engines");
        for package in ["telemetry", "orchestratord", "pool-managerd", "e2e-tests"] {
            command.args(["--package", package]);
        }
        succeed(command.args(["--", "-D", "warnings"]))
    });
    report.tests("otlp", otlp);
    // After the tests, which build the daemons.
    report.check("settings", || {
        super::settings::run(Arguments::new(Vec::new()))
    });
    report.check("limits", || super::limits::run(Arguments::new(Vec::new())));
    report.check("openapi", || {
        super::openapi::run(Arguments::new(Vec::new()))
    });
    report.check("deploy", || {
        super::deploy_check::run(Arguments::new(Vec::new()))
    });
    report.check("package", || {
        // The tests have built every crate already. This checks what would be in the packages.
        let mut command = cargo(&["package", "--no-verify", "--allow-dirty", "--quiet"]);
        for name in layers::published()? {
            command.args(["--package", &name]);
        }
        succeed(&mut command)
    });
    report.finish()
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "{status}");
    Ok(())
}
