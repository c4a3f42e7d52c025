//! `cargo xtask bench`.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::arguments::Arguments;
use benchmarks::{Options, registry};
use workspace_build::cargo;

pub(super) const USAGE: &str = "\
cargo xtask bench gateway [--quick] [--rounds N] [--seconds S] [--only NAMES]
                          [--scenarios NAMES] [--no-install] [--profile] [--baseline DIR]
cargo xtask bench registry [--quick] [--fleets NUMBERS] [--rounds N] [--seconds S]
                           [--stay SECONDS]
cargo xtask bench placement [FILTER]

gateway: measures this project in HOME and in CLOUD beside nginx, haproxy, sglang-router,
vllm-router and no gateway at all, on the same stand-in engines. Prints a report in Markdown and
writes it to target/bench/gateway.md, with what TLS and a key with limits cost. Installs missing
programs where it can (Debian packages as root, routers in target/bench/venv), and skips them
otherwise. Takes about ten minutes; do not use the machine meanwhile.

  --quick            one round of a second each, without installation: checks that it works
  --rounds N         how often each is measured (3)
  --seconds S        how long each is measured (2.5)
  --only NAMES       contenders, separated by commas: direct, nginx, nginx-tls, haproxy,
                     sglang-router, vllm-router, home, home-tls, home-key, cloud, cloud-tls,
                     home-before, cloud-before
  --scenarios NAMES  scenarios, separated by commas: unstreamed, streamed, burst, first,
                     live, crowd
  --no-install       skips programs that are not installed
  --profile          builds with symbols, and samples HOME and CLOUD with perf into
                     target/bench/profile-*.data; best alone:
                     --profile --only home --rounds 1 --seconds 10
  --baseline DIR     measures the daemons in DIR, an earlier release build, in the same rounds, and
                     compares
  $LLORCH_BIN_DIR    a directory with daemons to measure instead of building them

registry: measures registrations and heartbeats per second with fleets of simulated nodes, the
memory per node, and the time from a restart until all nodes are routable. Prints a report in
Markdown and writes it to target/bench/registry.md.

  --quick            fleets of 10 and 100 nodes for a second each
  --fleets NUMBERS   sizes, separated by commas (10,1000,10000,100000)
  --rounds N         how often each rate is measured (3)
  --seconds S        how long each is measured (2.5)
  --stay SECONDS     how long a large fleet has to stay online at the pace of the server (120)

placement: measures how long one choice takes, for each strategy and number of replicas. FILTER is a
part of a name.";

/// Enough for a median.
const ROUNDS: usize = 3;
/// Long enough for tens of thousands of answers; the whole takes five minutes.
const SECONDS: f64 = 2.5;
/// Four times the timeout of a node in a small fleet.
const STAY_SECS: u64 = 120;

pub(super) fn run(mut arguments: Arguments) -> Result<()> {
    match arguments.positional().as_deref() {
        Some("gateway") => gateway(arguments),
        Some("registry") => registry(arguments),
        Some("placement") => placement(arguments),
        Some(other) => bail!("{other}: neither gateway nor registry nor placement"),
        None => bail!("of what? usage: {USAGE}"),
    }
}

fn gateway(mut arguments: Arguments) -> Result<()> {
    let quick = arguments.flag("--quick");
    let (rounds, seconds) = if quick { (1, 1.0) } else { (ROUNDS, SECONDS) };
    let options = Options {
        rounds: arguments.value("--rounds")?.unwrap_or(rounds),
        seconds: arguments.value("--seconds")?.unwrap_or(seconds),
        only: names(arguments.value("--only")?),
        scenarios: names(arguments.value("--scenarios")?),
        install: !arguments.flag("--no-install") && !quick,
        profile: arguments.flag("--profile"),
        baseline: arguments.value("--baseline")?,
    };
    arguments.finish()?;
    ensure!(options.rounds > 0, "--rounds 0: nothing would be measured");
    ensure!(
        options.seconds > 0.0 && options.seconds.is_finite(),
        "--seconds {}: nothing would be measured",
        options.seconds
    );
    println!("{}", benchmarks::run(options)?);
    Ok(())
}

fn registry(mut arguments: Arguments) -> Result<()> {
    let quick = arguments.flag("--quick");
    let (rounds, seconds, stay) = if quick {
        (1, 1.0, 5)
    } else {
        (ROUNDS, SECONDS, STAY_SECS)
    };
    let fleets = names(arguments.value("--fleets")?);
    let fleets: Vec<u64> = fleets
        .iter()
        .map(|number| {
            number
                .parse()
                .with_context(|| format!("--fleets {number}: not a number"))
        })
        .collect::<Result<_>>()?;
    let options = registry::Options {
        fleets: if fleets.is_empty() && quick {
            vec![10, 100]
        } else {
            fleets
        },
        rounds: arguments.value("--rounds")?.unwrap_or(rounds),
        seconds: arguments.value("--seconds")?.unwrap_or(seconds),
        stay: Duration::from_secs(arguments.value("--stay")?.unwrap_or(stay)),
    };
    arguments.finish()?;
    ensure!(
        options.fleets.iter().all(|nodes| *nodes > 0),
        "--fleets 0: nothing would be measured"
    );
    println!("{}", registry::run(&options)?);
    Ok(())
}

fn placement(mut arguments: Arguments) -> Result<()> {
    let filter = arguments.positional();
    arguments.finish()?;
    let mut command = cargo(&[
        "bench",
        "--quiet",
        "--package",
        "placement",
        "--bench",
        "choose",
    ]);
    if let Some(filter) = filter {
        command.args(["--", &filter]);
    }
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "{status}");
    Ok(())
}

fn names(list: Option<String>) -> Vec<String> {
    let list = list.unwrap_or_default();
    let names = list
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_told_before_anything_is_built() {
        let run = |words: &[&str]| {
            run(Arguments::new(
                words.iter().map(|&word| word.to_owned()).collect(),
            ))
            .unwrap_err()
            .to_string()
        };
        assert!(run(&[]).contains("usage"));
        assert!(run(&["speed"]).contains("speed"));
        assert!(run(&["gateway", "--wat"]).contains("--wat"));
        assert!(run(&["registry", "--fleets", "many"]).contains("many"));
        assert!(run(&["gateway", "--rounds", "0"]).contains("--rounds 0"));
        assert!(run(&["gateway", "--seconds", "-1"]).contains("--seconds -1"));
    }
}
