//! vLLM.

use crate::{
    dialect::{Dialect, Figures, Identity, Profile, Report, Shows, ask, mark},
    parse::{gauges, sum_whole, version},
    prometheus::samples,
};

const VERSION: &str = "/version";
const METRICS: &str = "/metrics";

/// How it is asked.
const PROFILE: Profile = Profile {
    identity: Identity {
        owners: &["vllm"],
        marks: &[mark(METRICS, Shows::Metric("vllm:"))],
    },
    // 503 when its engine has died. It refuses connections while it loads.
    readiness: "/health",
    questions: &[ask(VERSION, Figures::Traits), ask(METRICS, Figures::Load)],
    reports_tasks: false,
    is_asked_when_idle: false,
};

pub(crate) struct Vllm;

impl Dialect for Vllm {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn read(&self, path: &str, body: &[u8], report: &mut Report) -> bool {
        match path {
            VERSION => {
                report.version = version(body);
                report.version.is_some()
            }
            METRICS => {
                metrics(body, report);
                true
            }
            _ => false,
        }
    }
}

/// Over all its data-parallel engines.
fn metrics(body: &[u8], report: &mut Report) {
    let mut load = gauges(
        body,
        &["vllm:num_requests_running"],
        &["vllm:num_requests_waiting"],
    );
    let text = String::from_utf8_lossy(body);
    // Versions before 1.0 could swap a request out of the GPU's memory and continue it later.
    let swapped = sum_whole(&text, &["vllm:num_requests_swapped"]);
    load.waiting = load
        .waiting
        .map(|waiting| waiting.saturating_add(swapped.unwrap_or(0)));
    load.sleeping = samples(&text)
        .filter(|sample| {
            sample.name == "vllm:engine_sleep_state" && sample.label("sleep_state") == Some("awake")
        })
        // One rank that is awake is enough to serve requests.
        .map(|sample| sample.value <= 0.0)
        .reduce(|one, other| one && other);
    report.load = load;
}
