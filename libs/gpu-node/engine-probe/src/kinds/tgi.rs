//! Hugging Face's text-generation-inference.

use crate::{
    dialect::{Dialect, Figures, Identity, Profile, Report, Shows, ask, mark},
    parse::{count, gauges, json, text},
};

const INFO: &str = "/info";
const METRICS: &str = "/metrics";

/// How it is asked.
const PROFILE: Profile = Profile {
    identity: Identity {
        owners: &[],
        marks: &[mark(INFO, Shows::Value("/max_concurrent_requests"))],
    },
    // 503 when its backend is not healthy.
    readiness: "/health",
    questions: &[ask(INFO, Figures::Traits), ask(METRICS, Figures::Load)],
    reports_tasks: false,
    is_asked_when_idle: false,
};

pub(crate) struct Tgi;

impl Dialect for Tgi {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn read(&self, path: &str, body: &[u8], report: &mut Report) -> bool {
        match path {
            INFO => {
                let Some(answer) = json(body) else {
                    return false;
                };
                report.slots = count(answer.get("max_concurrent_requests"));
                report.version = text(answer.get("version"));
                report.context_length = count(answer.get("max_total_tokens"));
                true
            }
            METRICS => {
                report.load = gauges(body, &["tgi_batch_current_size"], &["tgi_queue_size"]);
                true
            }
            _ => false,
        }
    }
}
