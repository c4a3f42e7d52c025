//! Ollama.

use pool_registry_types::{ModelName, usable_models};

use crate::{
    answer::ModelList,
    dialect::{Dialect, Figures, Identity, Profile, Report, Shows, ask, mark},
    parse::{json, text, version},
};

const VERSION: &str = "/api/version";
const LOADED: &str = "/api/ps";

/// The tag that it adds to a model name without one.
const DEFAULT_TAG: &str = ":latest";

/// How it is asked.
const PROFILE: Profile = Profile {
    identity: Identity {
        owners: &["library"],
        marks: &[mark(LOADED, Shows::Value("/models"))],
    },
    // It has no health endpoint, but always answers with its version.
    readiness: VERSION,
    // It reports no slots. The context length of a model is known only while it is loaded,
    // and a prompt that is too long is cut, not refused.
    questions: &[ask(LOADED, Figures::Load)],
    reports_tasks: false,
    is_asked_when_idle: false,
};

pub(crate) struct Ollama;

impl Dialect for Ollama {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn read(&self, path: &str, body: &[u8], report: &mut Report) -> bool {
        match path {
            VERSION => {
                report.version = version(body);
                report.version.is_some()
            }
            LOADED => {
                report.load.models_loaded = loaded(body);
                report.load.models_loaded.is_some()
            }
            _ => false,
        }
    }

    /// `x:latest` is also `x`.
    fn complete_models(&self, list: &mut ModelList) {
        let short = |name: &String| name.strip_suffix(DEFAULT_TAG).map(str::to_owned);
        let untagged: Vec<String> = list.names.iter().filter_map(short).collect();
        list.names.extend(untagged);
    }
}

/// The models that it has in memory.
fn loaded(body: &[u8]) -> Option<Vec<ModelName>> {
    let answer = json(body)?;
    let entries = answer.get("models")?.as_array()?;
    let names = entries.iter().filter_map(|entry| text(entry.get("name")));
    Some(usable_models(names).0)
}
