//! LM Studio.

use pool_registry_types::usable_models;
use serde_json::Value;

use crate::{
    dialect::{Dialect, Figures, Identity, MODELS, Profile, Report, Shows, ask, mark},
    parse::{count, json, text},
};

/// Its own list: the state and context length of each model.
const OWN_MODELS: &str = "/api/v0/models";

/// How it is asked.
const PROFILE: Profile = Profile {
    identity: Identity {
        owners: &["organization_owner"],
        marks: &[mark(OWN_MODELS, Shows::Value("/data"))],
    },
    readiness: MODELS,
    questions: &[ask(OWN_MODELS, Figures::Both)],
    reports_tasks: false,
    is_asked_when_idle: false,
};

pub(crate) struct LmStudio;

impl Dialect for LmStudio {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn read(&self, path: &str, body: &[u8], report: &mut Report) -> bool {
        path == OWN_MODELS && own_models(body, report).is_some()
    }
}

fn own_models(body: &[u8], report: &mut Report) -> Option<()> {
    let answer = json(body)?;
    let entries = answer.get("data")?.as_array()?;
    let is_loaded = |entry: &&Value| entry.get("state").and_then(Value::as_str) == Some("loaded");
    let loaded = entries.iter().filter(is_loaded);
    report.load.models_loaded =
        Some(usable_models(loaded.filter_map(|entry| text(entry.get("id")))).0);
    // A model that is not loaded yet can get any context up to its largest.
    let context = |entry: &Value| {
        count(entry.get("loaded_context_length")).or_else(|| count(entry.get("max_context_length")))
    };
    report.context_length = largest(entries.iter().map(context));
    Some(())
}

/// The largest, if every one is known.
fn largest(mut contexts: impl Iterator<Item = Option<u32>>) -> Option<u32> {
    let first = contexts.next()?;
    contexts.fold(first, |one, other| Some(one?.max(other?)))
}
