//! Runs tests by nextest when it is installed, else by `cargo test`, and counts them.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::report::Counts;
use workspace_build::cargo;

/// The test runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// Each test in a process of its own, with a limit on its time.
    Nextest,
    /// `cargo test`, which every toolchain has.
    CargoTest,
}

/// The one test that builds the daemons with the feature `otlp`. The rest of the workspace is built
/// without.
const OTLP: [&str; 6] = ["--package", E2E, "--features", "otlp", "--test", "otlp"];

/// The tests with engines that take minutes to install.
const ENGINES: [&str; 6] = [
    "--package",
    E2E,
    "--features",
    "engines",
    "--test",
    "engines",
];

/// The package of the tests of the real daemons, and the name of its test program.
const E2E: &str = "e2e-tests";

/// Which tests to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All of the workspace but those of the real daemons.
    Workspace,
    /// Those of builds that export spans.
    Otlp,
    /// Those with engines that take minutes to install.
    Engines,
    /// Those of the real daemons whose name contains the text.
    E2e(Option<String>),
}

impl Runner {
    pub(crate) fn detect() -> Self {
        let answer = cargo(&["nextest", "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if answer.is_ok_and(|status| status.success()) {
            Self::Nextest
        } else {
            Self::CargoTest
        }
    }

    /// The commands that run the selected tests.
    fn commands(self, selection: &Selection) -> Vec<Vec<&str>> {
        match (self, selection) {
            (Self::Nextest, Selection::Workspace) => {
                vec![vec![
                    "nextest",
                    "run",
                    "--workspace",
                    "-E",
                    "not binary_id(e2e-tests::e2e)",
                ]]
            }
            (Self::CargoTest, Selection::Workspace) => vec![
                vec![
                    "test",
                    "--no-fail-fast",
                    "--workspace",
                    "--exclude",
                    E2E,
                    "--lib",
                    "--bins",
                    "--tests",
                    "--examples",
                ],
                vec!["test", "--package", E2E, "--lib"],
            ],
            (Self::Nextest, Selection::Otlp) => vec![[&["nextest", "run"], &OTLP[..]].concat()],
            (Self::CargoTest, Selection::Otlp) => vec![[&["test"], &OTLP[..]].concat()],
            // One after the other: each needs both cores and gigabytes of memory.
            (Self::Nextest, Selection::Engines) => {
                vec![[&["nextest", "run", "--test-threads", "1"], &ENGINES[..]].concat()]
            }
            (Self::CargoTest, Selection::Engines) => {
                vec![[&["test"], &ENGINES[..], &["--", "--test-threads", "1"]].concat()]
            }
            // One at a time: each starts several processes and measures times.
            (Self::Nextest, Selection::E2e(filter)) => {
                let mut command = vec![
                    "nextest",
                    "run",
                    "--package",
                    E2E,
                    "--test",
                    "e2e",
                    "--test-threads",
                    "1",
                ];
                command.extend(["--success-output", "final"]);
                command.extend(filter.as_deref());
                vec![command]
            }
            (Self::CargoTest, Selection::E2e(filter)) => {
                let mut command = vec!["test", "--package", E2E, "--test", "e2e"];
                command.extend(filter.as_deref());
                command.extend(["--", "--test-threads", "1", "--nocapture"]);
                vec![command]
            }
        }
    }

    /// Runs the selected tests with an addition to the environment.
    ///
    /// # Errors
    /// When they do not build, or none was found.
    pub(crate) fn run(
        self,
        selection: &Selection,
        environment: &[(&str, &OsStr)],
    ) -> Result<Counts> {
        let mut total = Counts::default();
        for arguments in self.commands(selection) {
            let mut command = cargo(&arguments);
            command.envs(environment.iter().copied());
            total += run_and_count(&mut command)?;
        }
        ensure!(total != Counts::default(), "no test was found");
        Ok(total)
    }
}

/// Runs the tests in the documentation, which nextest leaves out.
pub(crate) fn doctests() -> Result<Counts> {
    run_and_count(&mut cargo(&[
        "test",
        "--workspace",
        "--doc",
        "--no-fail-fast",
    ]))
}

/// Runs a command, prints its output, and counts the tests in it.
fn run_and_count(command: &mut Command) -> Result<Counts> {
    // Both into one pipe: nextest counts on standard error, cargo test on standard output.
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    command
        .stdout(writer.try_clone().context("cannot share a pipe")?)
        .stderr(writer);
    let mut child = command.spawn().context("cannot run cargo")?;
    // The command holds the writing ends; while it lives the pipe does not end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut counts = Counts::default();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("cannot read what cargo says")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(more) = counts_in(&line) {
            counts += more;
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    ensure!(
        status.success() || counts.failed > 0,
        "cargo failed ({status}) before or beside the tests"
    );
    ensure!(
        status.success() == (counts.failed == 0),
        "cargo ends with {status}, but {counts:?}"
    );
    Ok(counts)
}

/// The counts in a line such as `test result: ok. 3 passed; 0 failed; …` or
/// `Summary [ 0.070s] 14 tests run: 13 passed, 1 failed, 0 skipped`. An indented `test result` is
/// the output of a single test, which nextest shows and has counted.
fn counts_in(line: &str) -> Option<Counts> {
    let result = if line.trim_start().starts_with("Summary [") {
        line.split_once("run: ")?.1
    } else {
        line.strip_prefix("test result: ")?.split_once(". ")?.1
    };
    let count = |what: &str| {
        let number = result.split([',', ';']).find_map(|part| {
            let (number, rest) = part.trim().split_once(' ')?;
            // "13 passed (2 slow)", "1 timed out"
            rest.starts_with(what)
                .then(|| number.parse::<u64>().ok())
                .flatten()
        });
        number.unwrap_or(0)
    };
    Some(Counts {
        passed: count("passed"),
        failed: count("failed") + count("timed out"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_as_the_runners_do() {
        for (line, passed, failed) in [
            (
                "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; \
                 finished in 0.06s",
                3,
                0,
            ),
            (
                "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured",
                3,
                2,
            ),
            (
                "     Summary [   0.104s] 14 tests run: 13 passed, 1 failed, 0 skipped",
                13,
                1,
            ),
            (
                "     Summary [   9.104s] 14 tests run: 11 passed (2 slow), 1 failed, 2 timed \
                 out, 0 skipped",
                11,
                3,
            ),
            (
                "     Summary [   0.070s] 1 test run: 1 passed, 0 skipped",
                1,
                0,
            ),
        ] {
            assert_eq!(counts_in(line), Some(Counts { passed, failed }), "{line}");
        }
        assert_eq!(
            counts_in("        PASS [   0.006s] (12/14) some test"),
            None
        );
        assert_eq!(
            counts_in("    test result: ok. 1 passed; 0 failed; 0 ignored"),
            None
        );
    }

    #[test]
    fn shows_what_the_command_says_and_believes_no_contradiction() {
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            run_and_count(&mut command)
        };
        let good = "echo 'test result: ok. 2 passed; 0 failed; x' >&2; echo 'test result: ok. 1 \
                    passed; 0 failed; x'";
        assert_eq!(
            run(good).unwrap(),
            Counts {
                passed: 3,
                failed: 0
            }
        );
        let bad = "echo 'test result: FAILED. 2 passed; 1 failed; x'; exit 101";
        assert_eq!(
            run(bad).unwrap(),
            Counts {
                passed: 2,
                failed: 1
            }
        );
        assert!(run("echo error: does not compile; exit 101").is_err());
        assert!(run("echo 'test result: FAILED. 2 passed; 1 failed; x'").is_err());
    }
}
