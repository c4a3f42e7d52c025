//! `cargo xtask fuzz`.

use anyhow::{Context, Result, ensure};

use crate::{
    arguments::Arguments,
    libfuzzer::{self, Effort, Outcome},
};

pub(super) const USAGE: &str = "\
cargo xtask fuzz TARGET|all [--runs N] [--jobs N] [--seed N]

Runs the targets of libs/test-support/fuzz-targets under libFuzzer. Needs a nightly toolchain and
cargo-fuzz:
  rustup toolchain install nightly --profile minimal && cargo install cargo-fuzz --locked
Inputs and findings are in target/libfuzzer, and counted in target/libfuzzer/summary.md.

  --runs N  executions of each target (10 million)
  --jobs N  concurrent targets (2)
  --seed N  the seed of an earlier run, for the same inputs";

/// Executions of each target.
const RUNS: u64 = 10_000_000;
/// Targets at a time: the smallest machine that this project is checked on has two cores.
const JOBS: usize = 2;

pub(super) fn run(mut arguments: Arguments) -> Result<()> {
    let effort = Effort {
        runs: arguments.value("--runs")?.unwrap_or(RUNS),
        jobs: arguments.value("--jobs")?.unwrap_or(JOBS),
        seed: arguments.value("--seed")?,
    };
    let name = arguments
        .positional()
        .context("which target? See cargo xtask fuzz --help")?;
    arguments.finish()?;
    let targets = libfuzzer::named(&name)?;
    let programs = libfuzzer::build(&targets)?;
    let outcomes = libfuzzer::run(&programs, &targets, &effort, tell)?;
    let summary = libfuzzer::table(&outcomes, &libfuzzer::today()?);
    let path = libfuzzer::directory().join("summary.md");
    std::fs::write(&path, &summary).with_context(|| format!("cannot write {}", path.display()))?;
    println!("\n{summary}");
    let crashes: Vec<_> = outcomes
        .iter()
        .flat_map(|outcome| &outcome.crashes)
        .collect();
    for crash in &crashes {
        println!("found: {}", crash.display());
    }
    ensure!(
        crashes.is_empty(),
        "{} input(s) break a property: run the program in {} with one as its argument, and add \
         the input to the corpus",
        crashes.len(),
        programs.display()
    );
    Ok(())
}

fn tell(outcome: &Outcome) {
    let Outcome {
        target,
        executions,
        per_second,
        crashes,
    } = outcome;
    println!(
        "{target}: {executions} executions, {per_second} a second, {} crash(es)",
        crashes.len()
    );
}
