//! The server of llama-cpp-python.
//!
//! All its routes take one lock. By default, any request for it, `/v1/models` included, ends a
//! running stream in a proper way, so that a client cannot see that its answer is cut off.

use crate::{
    dialect::{Dialect, Figures, Identity, MODELS, Profile, Report, Shows, ask, mark},
    parse::{json, text},
};

/// Its description of itself. It has no other place for its version.
const DESCRIPTION: &str = "/openapi.json";

/// How it is asked.
const PROFILE: Profile = Profile {
    identity: Identity {
        owners: &[],
        marks: &[mark(DESCRIPTION, Shows::Text("/info/title", "llama.cpp"))],
    },
    readiness: MODELS,
    questions: &[ask(DESCRIPTION, Figures::Traits)],
    reports_tasks: false,
    is_asked_when_idle: true,
};

pub(crate) struct LlamaCppPython;

impl Dialect for LlamaCppPython {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn read(&self, path: &str, body: &[u8], report: &mut Report) -> bool {
        if path != DESCRIPTION {
            return false;
        }
        // It computes one request at a time: by default, a second one interrupts a running stream.
        report.slots = Some(1);
        report.version = json(body).and_then(|answer| text(answer.pointer("/info/version")));
        report.version.is_some()
    }
}
