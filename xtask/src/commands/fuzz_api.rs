//! `cargo xtask fuzz-api`.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::arguments::Arguments;
use e2e_tests::schemathesis::{self, Effort, Fuzzer};

pub(super) const USAGE: &str = "\
cargo xtask fuzz-api [--seconds N] [--examples N] [--seed N]

Runs Schemathesis, from the Python package index, against both daemons and a real engine: it
generates requests from the OpenAPI documents and checks every answer. A short form is one of the
tests of `cargo xtask e2e`.

  --seconds N   the time for each daemon (300); 0 waits for all requests
  --examples N  requests of each kind for each route (50)
  --seed N      the seed of an earlier run, which is in its log in target/fuzz";

/// How long each daemon is tried.
const SECONDS: u64 = 300;
/// Requests of each kind for each route.
const EXAMPLES: u32 = 50;

pub(super) fn run(mut arguments: Arguments) -> Result<()> {
    let seconds = arguments.value("--seconds")?.unwrap_or(SECONDS);
    let effort = Effort {
        examples: arguments.value("--examples")?.unwrap_or(EXAMPLES),
        time: (seconds > 0).then(|| Duration::from_secs(seconds)),
        seed: arguments.value("--seed")?,
    };
    arguments.finish()?;
    let Some(fuzzer) = Fuzzer::find()? else {
        return Ok(());
    };
    // All of them, whatever one finds.
    let results = [
        schemathesis::node(&fuzzer, effort),
        schemathesis::control_plane(&fuzzer, effort),
        schemathesis::home(&fuzzer, effort),
    ];
    let mut failed = 0;
    for error in results.into_iter().filter_map(Result::err) {
        println!("{error:#}");
        failed += 1;
    }
    ensure!(failed == 0, "{failed} of 3 are not as they say");
    Ok(())
}
