//! The goals, and whether they were reached.

use crate::{
    contender::Contender,
    markdown::{Table, number, text},
    measurement::rate,
    results::{MIB, Peak, Results},
};

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

/// The most that TLS may cost, relative to what it costs nginx.
const TLS_GOAL: f64 = 1.1;
/// The most that a key with limits may cost, in microseconds for an answer.
const KEY_GOAL_MICROS: f64 = 3.0;

/// Peak memory of a gateway that people run at home beside a model, in MiB.
const MEMORY_GOAL_MIB: f64 = 32.0;

/// Which goals were reached, of those whose scenario was measured.
pub(super) fn table(results: &Results) -> String {
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
    for scenario in results.scenarios.iter().filter(|scenario| scenario.warm_up) {
        let extra = |contender, base| results.extra_cpu_micros(contender, base, scenario);
        let own = extra(Contender::HomeTls, Contender::Home);
        let nginx = extra(Contender::NginxTls, Contender::Nginx);
        if let (Some(own), Some(nginx)) = (own, nginx) {
            line(
                format!(
                    "HOME-TLS, {}: TLS costs at most {TLS_GOAL} of nginx's",
                    scenario.name
                ),
                format!("{:.2}", own / nginx),
                own <= TLS_GOAL * nginx,
            );
        }
        // A stream carries the usage that a key asks for: another event.
        let key = extra(Contender::HomeKey, Contender::Home).filter(|_| !scenario.streamed);
        if let Some(micros) = key {
            line(
                format!(
                    "HOME-key, {}: a key costs under {KEY_GOAL_MICROS} µs",
                    scenario.name
                ),
                format!("{micros:.1}"),
                micros < KEY_GOAL_MICROS,
            );
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
