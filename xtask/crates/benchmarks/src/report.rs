//! The report: medians, ratios to nginx, and the goals.

use super::{
    contender::Contender,
    markdown::{Table, number, text},
    measurement::Measurement,
    median::median,
    results::{Peak, Results},
    scenario::Scenario,
};

const MIB: f64 = 1024.0 * 1024.0;

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
        "# Gateway benchmark

{cores} cores for engines, gateway and load generator together. Medians of {rounds} rounds,
{seconds} s each; \"of nginx\" is the median of the ratios within a round. First byte: from the
request to the first byte of the answer's body. CPU: user and system time of the gateway's
processes. Load average {before} before, {after} after.

Compared with: {}.
",
        if versions.is_empty() {
            "none".to_owned()
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
    let mut table = Table::new([
        text("gateway"),
        number("answers/s"),
        number("events/s"),
        number("of nginx"),
        number("first byte p50 ms"),
        number("p99 ms"),
        number("p99 of nginx"),
        number("p99 of direct"),
        number("CPU s"),
        number("CPU µs/answer"),
        number("errors"),
    ]);
    for &contender in &results.contenders {
        let of = |what: fn(&Measurement) -> f64| results.median(contender, scenario, what);
        let ratio =
            |what: fn(&Measurement) -> f64| show_ratio(results.ratio(contender, scenario, what));
        let rounds = results.rounds(contender, scenario);
        let errors: u64 = rounds.iter().map(|measurement| measurement.errors).sum();
        table.add([
            contender.name().to_owned(),
            format!("{:.0}", of(|m| m.answers_per_second)),
            if scenario.streamed {
                format!("{:.0}", of(|m| m.events_per_second))
            } else {
                String::new()
            },
            ratio(rate(scenario)),
            format!("{:.2}", of(|m| m.first_p50_ms)),
            format!("{:.2}", of(|m| m.first_p99_ms)),
            ratio(|m| m.first_p99_ms),
            show_ratio(results.to_direct(contender, scenario, |m| m.first_p99_ms)),
            format!("{:.2}", of(|m| m.cpu.as_secs_f64())),
            format!("{:.1}", of(|m| m.cpu_micros().unwrap_or_default())),
            errors.to_string(),
        ]);
    }
    format!("\n## {}\n\n{table}", scenario.title)
}

/// The rate that a scenario measures: events of streams, else answers.
fn rate(scenario: &Scenario) -> fn(&Measurement) -> f64 {
    if scenario.streamed {
        |m| m.events_per_second
    } else {
        |m| m.answers_per_second
    }
}

fn memory_table(results: &Results) -> String {
    let mut table = Table::new([text("gateway"), number("all"), number("largest")]);
    for &contender in &results.contenders {
        let all = results.memory(contender, |peak| peak.sum);
        let largest = results.memory(contender, |peak| peak.largest);
        if let (Some(all), Some(largest)) = (all.filter(|&bytes| bytes > 0.0), largest) {
            table.add([
                contender.name().to_owned(),
                format!("{:.1}", all / MIB),
                format!("{:.1}", largest / MIB),
            ]);
        }
    }
    format!(
        "
## Peak memory

VmHWM, in MiB: the sum over the gateway's processes, and that of the largest of them.

{table}"
    )
}

/// This build relative to an earlier one; empty when none was measured.
fn baseline_table(results: &Results) -> String {
    let mut table = Table::new([
        text("set-up"),
        number("rate"),
        number("first byte p99"),
        number("CPU per answer"),
    ]);
    for (contender, before) in Contender::WITH_BASELINE {
        for scenario in &results.scenarios {
            let cell = |of: &dyn Fn(&Measurement) -> f64| {
                show_spread(results.ratios(contender, before, scenario, of))
            };
            let rate = cell(&rate(scenario));
            if !rate.is_empty() {
                table.add([
                    format!("{}, {}", contender.name(), scenario.name),
                    rate,
                    cell(&|m| m.first_p99_ms),
                    cell(&|m| m.cpu_micros().unwrap_or_default()),
                ]);
            }
        }
    }
    if table.is_empty() {
        return String::new();
    }
    format!(
        "
## This build relative to the baseline

Ratios within a round: median (lowest to highest). A rate above 1 is faster.

{table}"
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

/// A limit relative to nginx, or to the engines alone.
enum Goal {
    RateAtLeast(f64),
    FirstP99AtMost(f64),
    FirstP99OfDirectAtMost(f64),
}

/// The goals: contender, scenario and limit.
const GOALS: [(Contender, &str, Goal); 8] = [
    (Contender::Home, "unstreamed", Goal::RateAtLeast(0.85)),
    (Contender::Home, "streamed", Goal::RateAtLeast(1.0)),
    (Contender::Cloud, "unstreamed", Goal::RateAtLeast(0.5)),
    (Contender::Cloud, "streamed", Goal::RateAtLeast(0.5)),
    (Contender::Home, "live", Goal::FirstP99AtMost(1.3)),
    (Contender::Cloud, "live", Goal::FirstP99AtMost(1.3)),
    (Contender::Home, "crowd", Goal::FirstP99OfDirectAtMost(3.0)),
    (Contender::Cloud, "crowd", Goal::FirstP99OfDirectAtMost(3.0)),
];

/// Peak memory of a gateway that people run at home beside a model, in MiB.
const MEMORY_GOAL_MIB: f64 = 32.0;

fn goals(results: &Results) -> String {
    let mut table = Table::new([text("goal"), number("measured"), text("reached")]);
    let mut line = |goal: String, measured: String, reached: bool| {
        let verdict = if reached { "yes" } else { "**no**" };
        table.add([goal, measured, verdict.to_owned()]);
    };
    for (contender, name, goal) in &GOALS {
        let mut scenarios = results.scenarios.iter();
        let Some(scenario) = scenarios.find(|scenario| scenario.name == *name) else {
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
            Goal::FirstP99OfDirectAtMost(limit) => {
                if let Some(ratio) = results.to_direct(*contender, scenario, |m| m.first_p99_ms) {
                    line(
                        format!("{title}: p99 of the first byte at most {limit} of no gateway"),
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
    format!("\n## Goals\n\n{table}")
}

fn show_ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{processes::PeakMemory, scenario::SCENARIOS};

    fn measurement(answers_per_second: f64) -> Measurement {
        Measurement {
            answers_per_second,
            first_p99_ms: 10.0,
            ..Measurement::default()
        }
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
}
