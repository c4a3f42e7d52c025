//! llama.cpp's `llama-server`, with one model or as a router that loads several.

use pool_registry_types::{ModelName, usable_models};
use serde_json::Value;

use crate::{
    dialect::{Dialect, Figures, Identity, Profile, Report, Shows, ask, mark},
    parse::{count, gauges, json, text},
};

const PROPS: &str = "/props";
const METRICS: &str = "/metrics";
const ROUTER_MODELS: &str = "/models";

/// How it is asked.
const PROFILE: Profile = Profile {
    identity: Identity {
        owners: &["llamacpp"],
        marks: &[
            mark(PROPS, Shows::Value("/total_slots")),
            mark(PROPS, Shows::Value("/max_instances")),
            // While it loads a model, every path answers with this error.
            mark("/health", Shows::Text("/error/message", "Loading model")),
        ],
    },
    // 503 while it loads the model.
    readiness: "/health",
    // `/slots` wakes a sleeping server and keeps it awake; these do neither.
    questions: &[
        ask(PROPS, Figures::Both),
        ask(METRICS, Figures::Load),
        ask(ROUTER_MODELS, Figures::Load),
    ],
    reports_tasks: true,
    is_asked_when_idle: false,
};

pub(crate) struct LlamaCpp;

impl Dialect for LlamaCpp {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn is_worth_asking(&self, path: &str, report: &Report) -> bool {
        match path {
            METRICS => report.has(PROPS) && !report.metrics_off,
            // A router has no slots of its own.
            ROUTER_MODELS => report.has(PROPS) && report.slots.is_none(),
            _ => true,
        }
    }

    fn read(&self, path: &str, body: &[u8], report: &mut Report) -> bool {
        match path {
            PROPS => props(body, report).is_some(),
            METRICS => {
                let load = gauges(
                    body,
                    &["llamacpp:requests_processing"],
                    &["llamacpp:requests_deferred"],
                );
                (report.load.running, report.load.waiting) = (load.running, load.waiting);
                true
            }
            ROUTER_MODELS => {
                report.load.models_loaded = loaded(body);
                report.load.models_loaded.is_some()
            }
            _ => false,
        }
    }
}

fn props(body: &[u8], report: &mut Report) -> Option<()> {
    let answer = json(body)?;
    report.slots = count(answer.get("total_slots"));
    report.version = text(answer.get("build_info"));
    report.load.sleeping = answer.get("is_sleeping").and_then(Value::as_bool);
    // The context is divided among the slots; this is the part of one. A router reports 0.
    let context = answer.pointer("/default_generation_settings/n_ctx");
    report.context_length = count(context).filter(|tokens| *tokens > 0);
    // Older versions do not report it and may have them.
    report.metrics_off = answer.get("endpoint_metrics").and_then(Value::as_bool) == Some(false);
    Some(())
}

/// The loaded models of a server that loads them on demand.
fn loaded(body: &[u8]) -> Option<Vec<ModelName>> {
    let answer = json(body)?;
    let status = |entry: &Value| {
        let value = entry.pointer("/status/value").and_then(Value::as_str);
        value.map(str::to_owned)
    };
    let entries = answer.get("data")?.as_array()?;
    // A server with a single model reports no status, and has it loaded.
    entries.iter().find_map(status)?;
    let loaded = entries
        .iter()
        .filter(|entry| status(entry).as_deref() == Some("loaded"));
    let names = loaded.filter_map(|entry| text(entry.get("id")));
    Some(usable_models(names).0)
}
