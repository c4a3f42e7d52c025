//! LocalAI.

use pool_registry_types::{ModelName, usable_models};

use crate::{
    dialect::{Dialect, Figures, Identity, Profile, Report, Shows, ask, mark},
    parse::{json, text, version},
};

const VERSION: &str = "/version";
const SYSTEM: &str = "/system";

/// How it is asked.
const PROFILE: Profile = Profile {
    identity: Identity {
        owners: &[],
        marks: &[mark(SYSTEM, Shows::Value("/loaded_models"))],
    },
    readiness: "/readyz",
    questions: &[ask(VERSION, Figures::Traits), ask(SYSTEM, Figures::Load)],
    reports_tasks: false,
    is_asked_when_idle: false,
};

pub(crate) struct LocalAi;

impl Dialect for LocalAi {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn read(&self, path: &str, body: &[u8], report: &mut Report) -> bool {
        match path {
            VERSION => {
                report.version = version(body);
                report.version.is_some()
            }
            SYSTEM => {
                report.load.models_loaded = loaded(body);
                report.load.models_loaded.is_some()
            }
            _ => false,
        }
    }
}

/// The models whose backend runs.
fn loaded(body: &[u8]) -> Option<Vec<ModelName>> {
    let answer = json(body)?;
    let entries = answer.get("loaded_models")?.as_array()?;
    let names = entries.iter().filter_map(|entry| text(entry.get("id")));
    Some(usable_models(names).0)
}
