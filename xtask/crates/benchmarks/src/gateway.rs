//! The order of events: rounds, in each every scenario, with each every contender.

use std::{path::Path, path::PathBuf};

use anyhow::{Context, Result, ensure};

use super::{
    contender::{Contender, Programs, Running},
    engines::Engines,
    measurement::Measurement,
    peers,
    profile::Recorder,
    report::{Setting, render},
    results::Results,
    scenario::{ENGINE_FAST, PAUSE, REHEARSAL, SCENARIOS, Scenario},
};
use test_clock::pause;
use workspace_build::{Binaries, build, executable};

/// How it is to be done.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often every contender is measured.
    pub rounds: usize,
    /// Seconds that are measured for each contender and scenario.
    pub seconds: f64,
    /// Names of contenders; empty for all.
    pub only: Vec<String>,
    /// Names of scenarios; empty for all.
    pub scenarios: Vec<String>,
    /// Whether missing programs of others are installed.
    pub install: bool,
    /// Whether `perf` looks at this project's processes.
    pub profile: bool,
    /// A directory with the daemons of an earlier build, to be measured in the same rounds.
    pub baseline: Option<PathBuf>,
}

/// What is measured, and with what.
struct Bench {
    contenders: Vec<Contender>,
    scenarios: Vec<Scenario>,
    programs: Programs,
    engines: Engines,
    options: Options,
}

/// Measures, and gives the report as Markdown, which is also kept in the target directory.
///
/// # Errors
/// When something does not build or start, or when this project gave a wrong answer.
pub fn run(options: Options) -> Result<String> {
    let load_before = load_average();
    let (mut bench, mut setting) = Bench::prepare(options)?;
    let results = bench.measure()?;
    setting.load_average = [load_before, load_average()];
    let report = render(&setting, &results);
    let path = peers::directory().join("gateway.md");
    std::fs::write(&path, &report).with_context(|| format!("cannot write {}", path.display()))?;
    for (contender, scenario, measurement) in results.failed() {
        let example = measurement.first_error.as_deref().unwrap_or_default();
        let line = format!(
            "{}, {}: {} wrong answers, the first: {example}",
            contender.name(),
            scenario.name,
            measurement.errors
        );
        ensure!(!contender.is_ours(), "{line}\n\n{report}");
        eprintln!("{line}");
    }
    Ok(report)
}

impl Bench {
    fn prepare(options: Options) -> Result<(Self, Setting)> {
        let directory = peers::directory();
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let scenarios = chosen(&SCENARIOS, |scenario| scenario.name, &options.scenarios)?;
        let mut wanted = chosen(&Contender::ALL, |contender| contender.name(), &options.only)?;
        let baseline = options
            .baseline
            .as_deref()
            .map(Binaries::in_directory)
            .transpose()?;
        // Without a baseline there is nothing that they could be.
        wanted.retain(|contender| baseline.is_some() || !contender.is_baseline());
        eprintln!("building with optimizations");
        let messages = build(&["load-gen", "fake-engine"], &["--release"])?;
        let ours = Binaries::optimized(options.profile)?;
        let (mut contenders, mut theirs, mut versions, mut skipped) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for contender in wanted {
            match contender.find(options.install) {
                Ok(program) => {
                    contenders.push(contender);
                    if let Some(program) = program {
                        let version = contender.version(&program);
                        if !versions.contains(&version) {
                            versions.push(version);
                        }
                        theirs.push((contender, program));
                    }
                }
                Err(error) => {
                    let line = format!("{}: skipped: {error:#}", contender.name());
                    eprintln!("{line}");
                    skipped.push(line);
                }
            }
        }
        let setting = Setting {
            rounds: options.rounds,
            seconds: options.seconds,
            versions,
            skipped,
            load_average: [String::new(), String::new()],
        };
        let bench = Self {
            contenders,
            scenarios,
            programs: Programs {
                ours,
                baseline,
                load_gen: executable(&messages, "load-gen")?,
                theirs,
            },
            engines: Engines::start(&executable(&messages, "fake-engine")?)?,
            options,
        };
        Ok((bench, setting))
    }

    fn measure(&mut self) -> Result<Results> {
        let mut results = Results::new(&self.contenders, &self.scenarios);
        for round in 0..self.options.rounds {
            let mut order = self.contenders.clone();
            let first = round % order.len().max(1);
            order.rotate_left(first);
            self.engines.direct(ENGINE_FAST)?;
            let mut all = Vec::new();
            for contender in order {
                let directory = tempfile::Builder::new()
                    .prefix(&format!("llorch-bench-{}-", contender.name()))
                    .tempdir()
                    .context("cannot create a directory for a contender")?;
                let running = contender.start(&self.programs, &self.engines, directory.path())?;
                // In this order they are dropped: it has ended when its directory goes.
                all.push((contender, running, directory));
            }
            // The speed of a machine changes within minutes: who is compared is measured within
            // seconds.
            for scenario in self.scenarios.clone() {
                for (contender, running, _) in &all {
                    let measurement = self.one(round, *contender, &scenario, running)?;
                    results.add(*contender, &scenario, measurement);
                }
            }
            for (contender, running, _) in &all {
                results.add_memory(*contender, super::processes::peak_memory(&running.pids()));
            }
        }
        Ok(results)
    }

    fn one(
        &mut self,
        round: usize,
        contender: Contender,
        scenario: &Scenario,
        running: &Running,
    ) -> Result<Measurement> {
        self.engines.direct(scenario.engine)?;
        let pids = running.pids();
        let take = |seconds| {
            Measurement::take(
                &self.programs.load_gen,
                scenario,
                seconds,
                &running.addresses,
                &running.access,
                &pids,
            )
        };
        if scenario.rehearsed {
            take(REHEARSAL.as_secs_f64()).context("the rehearsal")?;
            pause(PAUSE);
        }
        let recorder = if self.options.profile && contender.is_ours() {
            let file = format!("profile-{}-{}.data", contender.name(), scenario.name);
            Some(Recorder::start(&pids, &peers::directory().join(file))?)
        } else {
            None
        };
        let measurement = take(self.options.seconds)
            .with_context(|| format!("{}, {}", contender.name(), scenario.name))?;
        if let Some(recorder) = recorder {
            eprintln!("{}", recorder.finish()?);
        }
        eprintln!(
            "round {}/{}  {:<13}  {:<10}  {:>7.0} answers/s  {:>9.0} events/s  p99 {:>6.1} ms  {} \
             errors",
            round + 1,
            self.options.rounds,
            contender.name(),
            scenario.name,
            measurement.answers_per_second,
            measurement.events_per_second,
            measurement.first_p99_ms,
            measurement.errors,
        );
        Ok(measurement)
    }
}

/// Those of `all` that are named, or all.
fn chosen<T: Copy>(
    all: &[T],
    name: impl Fn(&T) -> &'static str,
    names: &[String],
) -> Result<Vec<T>> {
    for wanted in names {
        let known: Vec<&str> = all.iter().map(&name).collect();
        ensure!(
            known.iter().any(|known| known.eq_ignore_ascii_case(wanted)),
            "{wanted}: none of {}",
            known.join(", ")
        );
    }
    let is_chosen = |item: &&T| {
        names.is_empty()
            || names
                .iter()
                .any(|wanted| name(item).eq_ignore_ascii_case(wanted))
    };
    Ok(all.iter().filter(is_chosen).copied().collect())
}

/// How many processes want to run: over one, five and fifteen minutes.
fn load_average() -> String {
    let text = std::fs::read_to_string(Path::new("/proc/loadavg")).unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_by_name_and_tells_the_names() {
        let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let chosen =
            |list: &[&str]| chosen(&Contender::ALL, |contender| contender.name(), &names(list));
        assert_eq!(chosen(&[]).unwrap().len(), Contender::ALL.len());
        assert_eq!(
            chosen(&["home", "nginx"]).unwrap(),
            [Contender::Nginx, Contender::Home]
        );
        let error = chosen(&["apache"]).unwrap_err().to_string();
        assert!(
            error.contains("apache") && error.contains("haproxy"),
            "{error}"
        );
    }
}
