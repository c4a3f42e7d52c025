//! One measurement: what the client saw and what the gateway used.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{processes::cpu_time, scenario::Scenario};

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
        pids: &[u32],
    ) -> Result<Self> {
        let mut command = Command::new(load_gen);
        for address in addresses {
            command.args(["--target", &address.to_string()]);
        }
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
