//! SGLang.

use pool_registry_types::EngineLoad;

use crate::{
    dialect::{Dialect, Figures, Identity, Profile, Report, Shows, ask, mark},
    parse::{count, gauges, json, text},
};

/// Slots, version and load in one answer, in versions that have the path.
const LOADS: &str = "/v1/loads?include=core";
const METRICS: &str = "/metrics";

/// How it is asked.
const PROFILE: Profile = Profile {
    identity: Identity {
        owners: &["sglang"],
        marks: &[
            mark(LOADS, Shows::Value("/loads")),
            mark(METRICS, Shows::Metric("sglang")),
        ],
    },
    // Its /health generates a token and takes a second.
    readiness: "/ready",
    questions: &[ask(LOADS, Figures::Both), ask(METRICS, Figures::Load)],
    reports_tasks: false,
    is_asked_when_idle: false,
};

pub(crate) struct Sglang;

impl Dialect for Sglang {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn is_worth_asking(&self, path: &str, report: &Report) -> bool {
        path != METRICS || !report.has(LOADS)
    }

    fn read(&self, path: &str, body: &[u8], report: &mut Report) -> bool {
        match path {
            LOADS => loads(body, report).is_some(),
            METRICS => {
                report.load = gauges(
                    body,
                    &["sglang:num_running_reqs", "sglang_num_running_reqs"],
                    &["sglang:num_queue_reqs", "sglang_num_queue_reqs"],
                );
                true
            }
            _ => false,
        }
    }
}

/// Over all data-parallel ranks.
fn loads(body: &[u8], report: &mut Report) -> Option<()> {
    let answer = json(body)?;
    let ranks = answer.get("loads")?.as_array()?;
    // Without the value of every rank the sum is unknown.
    let sum = |field: &str| {
        let counts = ranks.iter().map(|rank| count(rank.get(field)));
        counts.reduce(|a, b| Some(a?.saturating_add(b?))).flatten()
    };
    report.slots = sum("max_running_requests");
    report.version = text(answer.get("version"));
    report.load = EngineLoad::of_requests(sum("num_running_reqs"), sum("num_waiting_reqs"));
    Some(())
}
