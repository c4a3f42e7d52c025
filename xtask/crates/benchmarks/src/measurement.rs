//! One measurement: what the client saw and what the gateway used.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    contender::Access,
    processes::cpu_time,
    scenario::{SCENARIOS, Scenario},
};

/// What one run of `load-gen` found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Measurement {
    pub(super) answers_per_second: f64,
    pub(super) events_per_second: f64,
    pub(super) first_p50_ms: f64,
    pub(super) first_p99_ms: f64,
    /// User and system time of the gateway, warm-up included.
    pub(super) cpu: Duration,
    /// Whole answers, warm-up included.
    pub(super) all_answers: u64,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
}

impl Measurement {
    /// Asks `addresses` as the scenario says and looks at what `pids` use meanwhile.
    ///
    /// # Errors
    /// When the load generator fails.
    pub(super) fn take(
        load_gen: &Path,
        scenario: &Scenario,
        seconds: f64,
        addresses: &[SocketAddr],
        access: &Access,
        pids: &[u32],
    ) -> Result<Self> {
        let mut command = asking(load_gen, addresses, access);
        command.args(scenario.load(seconds));
        let before = cpu_time(pids);
        let output = command.output().context("cannot run load-gen")?;
        let cpu = cpu_time(pids).saturating_sub(before);
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let told = serde_json::from_slice(&output.stdout).context("load-gen tells no JSON")?;
        Ok(Self {
            cpu,
            ..from_json(&told)
        })
    }

    /// Processor time for one answer, in microseconds; `None` when nothing was used or answered.
    pub(super) fn cpu_micros(&self) -> Option<f64> {
        (self.all_answers > 0 && !self.cpu.is_zero())
            .then(|| self.cpu.as_secs_f64() * 1e6 / self.all_answers as f64)
    }
}

/// The rate that a scenario measures: events of streams, else answers.
pub(super) fn rate(scenario: &Scenario) -> fn(&Measurement) -> f64 {
    if scenario.streamed {
        |m| m.events_per_second
    } else {
        |m| m.answers_per_second
    }
}

/// Whether a request gets an answer.
pub(super) fn can_answer(load_gen: &Path, addresses: &[SocketAddr], access: &Access) -> bool {
    let [unstreamed, ..] = &SCENARIOS;
    let once = Scenario {
        connections: 1,
        warm_up: false,
        ..*unstreamed
    };
    let mut command = asking(load_gen, addresses, access);
    let output = command.args(once.load(0.0)).output();
    output.is_ok_and(|output| {
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        told["all_answers"] == 1
    })
}

fn asking(load_gen: &Path, addresses: &[SocketAddr], access: &Access) -> Command {
    let mut command = Command::new(load_gen);
    for address in addresses {
        command.args(["--target", &address.to_string()]);
    }
    command.args(access.options());
    command
}

fn from_json(told: &Value) -> Measurement {
    let number = |key: &str| told[key].as_f64().unwrap_or_default();
    let count = |key: &str| told[key].as_u64().unwrap_or_default();
    Measurement {
        answers_per_second: number("answers_per_second"),
        events_per_second: number("events_per_second"),
        first_p50_ms: number("first_p50_ms"),
        first_p99_ms: number("first_p99_ms"),
        cpu: Duration::ZERO,
        all_answers: count("all_answers"),
        errors: count("errors"),
        first_error: told["first_error"].as_str().map(str::to_owned),
    }
}
