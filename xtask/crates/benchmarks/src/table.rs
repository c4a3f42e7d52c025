//! The report: medians, ratios to nginx, and the goals.

use std::fmt::Write as _;

use super::{
    contender::Contender, measurement::Measurement, processes::PeakMemory, scenario::Scenario,
};

/// How it was measured.
#[derive(Debug, Clone, Default)]
pub(super) struct Setting {
    pub(super) rounds: usize,
    pub(super) seconds: f64,
    pub(super) versions: Vec<String>,
    pub(super) skipped: Vec<String>,
    /// Before and after.
    pub(super) load_average: [String; 2],
}

/// All rounds of one contender in one scenario.
#[derive(Debug)]
struct Cell {
    contender: Contender,
    scenario: Scenario,
    rounds: Vec<Measurement>,
}

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Results {
    scenarios: Vec<Scenario>,
    contenders: Vec<Contender>,
    cells: Vec<Cell>,
    memory: Vec<(Contender, Vec<PeakMemory>)>,
}

/// Who the others are compared with.
const BASE: Contender = Contender::Nginx;
const MIB: f64 = 1024.0 * 1024.0;

impl Results {
    pub(super) fn new(contenders: &[Contender], scenarios: &[Scenario]) -> Self {
        Self {
            scenarios: scenarios.to_vec(),
            contenders: contenders.to_vec(),
            cells: Vec::new(),
            memory: contenders
                .iter()
                .map(|&contender| (contender, Vec::new()))
                .collect(),
        }
    }

    pub(super) fn add(
        &mut self,
        contender: Contender,
        scenario: &Scenario,
        measurement: Measurement,
    ) {
        let known = self
            .cells
            .iter_mut()
            .find(|cell| cell.contender == contender && cell.scenario == *scenario);
        if let Some(cell) = known {
            cell.rounds.push(measurement);
        } else {
            self.cells.push(Cell {
                contender,
                scenario: *scenario,
                rounds: vec![measurement],
            });
        }
    }

    pub(super) fn add_memory(&mut self, contender: Contender, peak: PeakMemory) {
        if let Some((_, all)) = self.memory.iter_mut().find(|(of, _)| *of == contender) {
            all.push(peak);
        }
    }

    /// Measurements with wrong answers.
    pub(super) fn failed(&self) -> impl Iterator<Item = (Contender, &Scenario, &Measurement)> {
        self.cells.iter().flat_map(|cell| {
            let failed = cell
                .rounds
                .iter()
                .filter(|measurement| measurement.errors > 0);
            failed.map(|measurement| (cell.contender, &cell.scenario, measurement))
        })
    }

    fn rounds(&self, contender: Contender, scenario: &Scenario) -> &[Measurement] {
        self.cells
            .iter()
            .find(|cell| cell.contender == contender && cell.scenario == *scenario)
            .map_or(&[], |cell| cell.rounds.as_slice())
    }

    fn median(
        &self,
        contender: Contender,
        scenario: &Scenario,
        of: impl Fn(&Measurement) -> f64,
    ) -> f64 {
        median(self.rounds(contender, scenario).iter().map(of).collect()).unwrap_or_default()
    }

    /// What `of` is relative to `base` in the same round, for each round.
    fn ratios(
        &self,
        contender: Contender,
        base: Contender,
        scenario: &Scenario,
        of: impl Fn(&Measurement) -> f64,
    ) -> Vec<f64> {
        let pairs = self
            .rounds(contender, scenario)
            .iter()
            .zip(self.rounds(base, scenario));
        pairs
            .map(|(own, base)| of(own) / of(base))
            .filter(|ratio| ratio.is_finite())
            .collect()
    }

    /// The median over the rounds of what `of` is relative to nginx in the same round.
    fn ratio(
        &self,
        contender: Contender,
        scenario: &Scenario,
        of: impl Fn(&Measurement) -> f64,
    ) -> Option<f64> {
        median(self.ratios(contender, BASE, scenario, of))
    }

    fn memory(&self, contender: Contender, of: Peak) -> Option<f64> {
        let (_, all) = self.memory.iter().find(|(whose, _)| *whose == contender)?;
        median(all.iter().map(of).collect())
    }
}

/// Which of the two peaks.
type Peak = fn(&PeakMemory) -> f64;

/// The middle one; the mean of the two middle ones of an even number.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// The report as Markdown.
pub(super) fn render(setting: &Setting, results: &Results) -> String {
    let mut text = introduction(setting);
    for scenario in &results.scenarios {
        text.push_str(&scenario_table(results, scenario));
    }
    text.push_str(&memory_table(results));
    text.push_str(&baseline_table(results));
    text.push_str(&goals(results));
    text
}

fn introduction(setting: &Setting) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let Setting {
        rounds,
        seconds,
        versions,
        skipped,
        load_average: [before, after],
    } = setting;
    let mut text = format!(
        "# Gateway benchmark\n\n{cores} cores for engines, gateway and load generator together. \
         Medians of {rounds} rounds, {seconds} s each; \"of nginx\" is the median of the ratios \
         within a round. First byte: from the request to the first byte of the answer's body. \
         CPU: user and system time of the gateway's processes. Load average {before} before, \
         {after} after.\n\nCompared with: {}.\n",
        if versions.is_empty() {
            "nobody".to_owned()
        } else {
            versions.join(", ")
        },
    );
    for line in skipped {
        text.push_str(&format!("\n{line}\n"));
    }
    text
}

fn scenario_table(results: &Results, scenario: &Scenario) -> String {
    let mut text = format!(
        "\n## {}\n\n| gateway | answers/s | events/s | of nginx | first byte p50 ms | p99 ms | \
         p99 of nginx | CPU s | CPU µs/answer | errors \
         |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        scenario.title
    );
    for &contender in &results.contenders {
        let of = |what: fn(&Measurement) -> f64| results.median(contender, scenario, what);
        let ratio =
            |what: fn(&Measurement) -> f64| show_ratio(results.ratio(contender, scenario, what));
        let errors: u64 = results
            .rounds(contender, scenario)
            .iter()
            .map(|measurement| measurement.errors)
            .sum();
        let cpu_micros = of(|m| m.cpu_micros().unwrap_or_default());
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {:.0} | {} | {} | {:.2} | {:.2} | {} | {:.2} | {:.1} | {errors} |",
            contender.name(),
            of(|m| m.answers_per_second),
            if scenario.streamed {
                format!("{:.0}", of(|m| m.events_per_second))
            } else {
                String::new()
            },
            ratio(rate(scenario)),
            of(|m| m.first_p50_ms),
            of(|m| m.first_p99_ms),
            ratio(|m| m.first_p99_ms),
            of(|m| m.cpu.as_secs_f64()),
            cpu_micros,
        );
    }
    text
}

/// What counts in a scenario: events where there are any.
fn rate(scenario: &Scenario) -> fn(&Measurement) -> f64 {
    if scenario.streamed {
        |m| m.events_per_second
    } else {
        |m| m.answers_per_second
    }
}

fn memory_table(results: &Results) -> String {
    let mut text = "\n## Peak memory\n\nVmHWM, in MiB: added up over the gateway's processes, and \
                    of the largest of them.\n\n| gateway | all | largest |\n|---|---:|---:|\n"
        .to_owned();
    for &contender in &results.contenders {
        let all = results.memory(contender, |peak| peak.sum);
        let largest = results.memory(contender, |peak| peak.largest);
        if let (Some(all), Some(largest)) = (all.filter(|&bytes| bytes > 0.0), largest) {
            let (name, all, largest) = (contender.name(), all / MIB, largest / MIB);
            let _ = writeln!(text, "| {name} | {all:.1} | {largest:.1} |");
        }
    }
    text
}

/// This build relative to an earlier one: empty when none was measured.
fn baseline_table(results: &Results) -> String {
    let mut rows = String::new();
    for (contender, before) in Contender::WITH_BASELINE {
        for scenario in &results.scenarios {
            let cell = |of: &dyn Fn(&Measurement) -> f64| {
                show_spread(results.ratios(contender, before, scenario, of))
            };
            let rate = cell(&rate(scenario));
            let p99 = cell(&|m| m.first_p99_ms);
            let cpu = cell(&|m| m.cpu_micros().unwrap_or_default());
            if !rate.is_empty() {
                let (contender, scenario) = (contender.name(), scenario.name);
                // Writing to a String cannot fail.
                let _ = writeln!(rows, "| {contender}, {scenario} | {rate} | {p99} | {cpu} |");
            }
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "\n## This build relative to the baseline\n\nRatios within a round: median (lowest to \
         highest). A rate above 1 is faster.\n\n| set-up | rate | first byte p99 | CPU per answer \
         |\n|---|---:|---:|---:|\n{rows}"
    )
}

fn show_spread(ratios: Vec<f64>) -> String {
    let lowest = ratios.iter().copied().reduce(f64::min);
    let highest = ratios.iter().copied().reduce(f64::max);
    match (median(ratios), lowest, highest) {
        (Some(median), Some(lowest), Some(highest)) => {
            format!("{median:.3} ({lowest:.2} to {highest:.2})")
        }
        _ => String::new(),
    }
}

/// What this project wants to reach: contender, scenario, what, and the limit.
enum Goal {
    RateAtLeast(f64),
    FirstP99AtMost(f64),
}

const GOALS: [(Contender, &str, Goal); 6] = [
    (Contender::Home, "unstreamed", Goal::RateAtLeast(0.85)),
    (Contender::Home, "streamed", Goal::RateAtLeast(1.0)),
    (Contender::Cloud, "unstreamed", Goal::RateAtLeast(0.5)),
    (Contender::Cloud, "streamed", Goal::RateAtLeast(0.5)),
    (Contender::Home, "live", Goal::FirstP99AtMost(1.3)),
    (Contender::Cloud, "live", Goal::FirstP99AtMost(1.3)),
];

/// Peak memory of a gateway that people run at home beside a model, in MiB.
const MEMORY_GOAL_MIB: f64 = 32.0;

fn goals(results: &Results) -> String {
    let mut text = "\n## Goals\n\n| goal | measured | reached |\n|---|---:|---|\n".to_owned();
    let mut line = |goal: String, measured: String, reached: bool| {
        let verdict = if reached { "yes" } else { "**no**" };
        let _ = writeln!(text, "| {goal} | {measured} | {verdict} |");
    };
    for (contender, name, goal) in &GOALS {
        let Some(scenario) = results
            .scenarios
            .iter()
            .find(|scenario| scenario.name == *name)
        else {
            continue;
        };
        let title = format!("{}, {name}", contender.name());
        match goal {
            Goal::RateAtLeast(limit) => {
                if let Some(ratio) = results.ratio(*contender, scenario, rate(scenario)) {
                    line(
                        format!("{title}: rate at least {limit} of nginx"),
                        format!("{ratio:.2}"),
                        ratio >= *limit,
                    );
                }
            }
            Goal::FirstP99AtMost(limit) => {
                if let Some(ratio) = results.ratio(*contender, scenario, |m| m.first_p99_ms) {
                    line(
                        format!("{title}: p99 of the first byte at most {limit} of nginx"),
                        format!("{ratio:.2}"),
                        ratio <= *limit,
                    );
                }
            }
        }
    }
    let memory: [(Contender, &str, Peak); 3] = [
        (Contender::Home, "", |peak| peak.sum),
        // They run on machines of their own.
        (Contender::Cloud, " of the larger daemon", |peak| {
            peak.largest
        }),
        (Contender::Cloud, " of both daemons together", |peak| {
            peak.sum
        }),
    ];
    for (contender, whose, of) in memory {
        if let Some(bytes) = results.memory(contender, of) {
            line(
                format!(
                    "{}: peak memory{whose} under {MEMORY_GOAL_MIB} MiB",
                    contender.name()
                ),
                format!("{:.1}", bytes / MIB),
                bytes / MIB < MEMORY_GOAL_MIB,
            );
        }
    }
    text
}

fn show_ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
}

#[cfg(test)]
mod tests {
    use super::{super::scenario::SCENARIOS, *};

    fn measurement(answers_per_second: f64) -> Measurement {
        Measurement {
            answers_per_second,
            first_p99_ms: 10.0,
            ..Measurement::default()
        }
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn ratios_are_those_within_a_round() {
        let scenario = SCENARIOS[0];
        let mut results = Results::new(&[Contender::Nginx, Contender::Home], &[scenario]);
        // A machine that becomes slower: the ratios stay.
        for (base, own) in [(100.0, 90.0), (50.0, 45.0), (10.0, 9.0)] {
            results.add(Contender::Nginx, &scenario, measurement(base));
            results.add(Contender::Home, &scenario, measurement(own));
        }
        let peak = PeakMemory {
            sum: 64.0 * MIB,
            largest: 40.0 * MIB,
        };
        results.add_memory(Contender::Home, peak);
        let text = render(&Setting::default(), &results);
        for line in [
            "| HOME | 45 |  | 0.90 | 0.00 | 10.00 | 1.00 |",
            "| HOME, unstreamed: rate at least 0.85 of nginx | 0.90 | yes |",
            "| HOME | 64.0 | 40.0 |",
            "| HOME: peak memory under 32 MiB | 64.0 | **no** |",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("CLOUD"), "{text}");
    }

    #[test]
    fn a_baseline_is_compared_within_each_round() {
        let scenario = SCENARIOS[0];
        let mut results = Results::new(&[Contender::Home, Contender::HomeBefore], &[scenario]);
        for (own, before) in [(99.0, 100.0), (60.0, 50.0), (10.0, 10.0)] {
            results.add(Contender::Home, &scenario, measurement(own));
            results.add(Contender::HomeBefore, &scenario, measurement(before));
        }
        let text = render(&Setting::default(), &results);
        let line = "| HOME, unstreamed | 1.000 (0.99 to 1.20) | 1.000 (1.00 to 1.00) |";
        assert!(text.contains(line), "{text}");
        let alone = Results::new(&[Contender::Home], &[scenario]);
        assert!(!render(&Setting::default(), &alone).contains("baseline"));
    }

    #[test]
    fn wrong_answers_are_found() {
        let mut results = Results::new(&[Contender::Home], &SCENARIOS);
        results.add(Contender::Home, &SCENARIOS[1], measurement(1.0));
        let wrong = Measurement {
            errors: 2,
            ..measurement(1.0)
        };
        results.add(Contender::Home, &SCENARIOS[1], wrong.clone());
        assert_eq!(
            results.failed().collect::<Vec<_>>(),
            [(Contender::Home, &SCENARIOS[1], &wrong)]
        );
    }
}
