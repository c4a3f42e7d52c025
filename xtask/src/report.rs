//! The steps of a longer command. Every step runs and is timed; the end lists the failures.

use std::{
    collections::BTreeSet,
    ops::AddAssign,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use test_clock::now;

/// How many tests or checks passed and failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

#[derive(Debug)]
struct Step {
    name: String,
    took: Duration,
    counts: Counts,
}

/// The steps so far.
#[derive(Debug)]
pub(crate) struct Report {
    start: Instant,
    steps: Vec<Step>,
    left_out: BTreeSet<String>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            start: now(),
            steps: Vec::new(),
            left_out: BTreeSet::new(),
        }
    }

    /// A step that is one check.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        self.tests(name, || {
            check().map(|()| Counts {
                passed: 1,
                failed: 0,
            })
        });
    }

    /// A step that runs tests. An error counts as one more failure when no test is known to have
    /// failed.
    pub(crate) fn tests(&mut self, name: &str, run: impl FnOnce() -> Result<Counts>) {
        println!("==> {name}");
        let start = now();
        let counts = run().unwrap_or_else(|error| {
            println!("{name}: {error:#}");
            Counts {
                passed: 0,
                failed: 1,
            }
        });
        self.steps.push(Step {
            name: name.to_owned(),
            took: start.elapsed(),
            counts,
        });
    }

    /// Adds lines about tests that were left out; they are shown above the totals.
    pub(crate) fn leave_out(&mut self, lines: impl IntoIterator<Item = String>) {
        self.left_out.extend(lines);
    }

    fn total(&self) -> Counts {
        let mut total = Counts::default();
        for step in &self.steps {
            total += step.counts;
        }
        total
    }

    /// Prints a line for each step, one for each thing that was left out, and one with the totals;
    /// a check counts like a test.
    ///
    /// # Errors
    /// When something failed.
    pub(crate) fn finish(self) -> Result<()> {
        println!();
        for step in &self.steps {
            let Counts { passed, failed } = step.counts;
            let verdict = if failed == 0 { "ok    " } else { "FAILED" };
            println!(
                "{verdict} {:<12} {:>6.1} s  {passed} passed, {failed} failed",
                step.name,
                step.took.as_secs_f64()
            );
        }
        for line in &self.left_out {
            println!("left out: {line}");
        }
        let Counts { passed, failed } = self.total();
        println!("total {:.1} s", self.start.elapsed().as_secs_f64());
        println!("{passed} passed, {failed} failed");
        if failed > 0 {
            let names: Vec<&str> = self
                .steps
                .iter()
                .filter(|step| step.counts.failed > 0)
                .map(|step| step.name.as_str())
                .collect();
            bail!("failed: {}", names.join(", "));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_steps_run_and_all_failures_count() {
        let mut report = Report::new();
        report.check("bad", || bail!("no"));
        report.tests("tests", || {
            Ok(Counts {
                passed: 5,
                failed: 2,
            })
        });
        report.check("good", || Ok(()));
        assert_eq!(
            report.total(),
            Counts {
                passed: 6,
                failed: 3
            }
        );
        assert_eq!(
            report.finish().unwrap_err().to_string(),
            "failed: bad, tests"
        );
        assert!(Report::new().finish().is_ok());
    }
}
