//! The report: medians, ratios to nginx, and the goals.

mod goals;

use super::{
    contender::Contender,
    markdown::{Table, number, text},
    measurement::{Measurement, rate},
    median::median,
    results::{MIB, Results},
    scenario::Scenario,
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

/// The report as Markdown.
pub(super) fn render(setting: &Setting, results: &Results) -> String {
    let mut text = introduction(setting);
    for scenario in &results.scenarios {
        text.push_str(&scenario_table(results, scenario));
    }
    text.push_str(&security_table(results));
    text.push_str(&memory_table(results));
    text.push_str(&baseline_table(results));
    text.push_str(&goals::table(results));
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

/// What TLS and keys cost; empty when neither was measured.
fn security_table(results: &Results) -> String {
    let mut table = Table::new([
        text("cost"),
        text("scenario"),
        number("CPU µs/answer more"),
        number("of nginx"),
    ]);
    for scenario in &results.scenarios {
        let of_nginx = results.extra_cpu_micros(Contender::NginxTls, Contender::Nginx, scenario);
        for (what, contender, base) in COSTS {
            let Some(extra) = results.extra_cpu_micros(contender, base, scenario) else {
                continue;
            };
            let ratio = of_nginx.filter(|_| contender != Contender::HomeKey);
            table.add([
                format!("{what}, {}", base.name()),
                scenario.name.to_owned(),
                format!("{extra:.1}"),
                show_ratio(ratio.map(|nginx| extra / nginx)),
            ]);
        }
    }
    if table.is_empty() {
        return String::new();
    }
    format!(
        "
## What TLS and keys cost

Processor time for an answer beyond that of the same gateway without: median of the differences
within a round. A key has every limit, and its usage is counted.

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

/// What is paid for: its name, who has it, and who has not.
const COSTS: [(&str, Contender, Contender); 4] = [
    ("TLS", Contender::NginxTls, Contender::Nginx),
    ("TLS", Contender::HomeTls, Contender::Home),
    ("TLS, both hops", Contender::CloudTls, Contender::Cloud),
    ("a key", Contender::HomeKey, Contender::Home),
];

fn show_ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
    fn tls_is_compared_with_that_of_nginx_and_a_key_with_its_goal() {
        let scenario = SCENARIOS[0];
        let all = [
            (Contender::Nginx, 10),
            (Contender::NginxTls, 20),
            (Contender::Home, 30),
            (Contender::HomeTls, 42),
            (Contender::HomeKey, 32),
        ];
        let mut results = Results::new(&all.map(|(contender, _)| contender), &[scenario]);
        for (contender, micros) in all {
            let measured = Measurement {
                cpu: Duration::from_micros(micros * 1000),
                all_answers: 1000,
                ..measurement(1.0)
            };
            results.add(contender, &scenario, measured);
        }
        let text = render(&Setting::default(), &results);
        for line in [
            "| TLS, nginx | unstreamed | 10.0 | 1.00 |",
            "| TLS, HOME | unstreamed | 12.0 | 1.20 |",
            "| a key, HOME | unstreamed | 2.0 |  |",
            "| HOME-TLS, unstreamed: TLS costs at most 1.1 of nginx's | 1.20 | **no** |",
            "| HOME-key, unstreamed: a key costs under 3 µs | 2.0 | yes |",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("TLS, both hops"), "{text}");
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
