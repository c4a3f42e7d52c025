//! Entry points for the fuzz targets. Not a part of the API.

use http::StatusCode;
use pool_registry_types::{EngineKind, EngineLoad};

use crate::{
    answer,
    dialect::{MODELS, Report as EngineReport},
    identify::identity_of,
    kinds::dialect,
};

/// Everything that an answer of an engine may contain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Its models.
    pub models: Option<Vec<String>>,
    /// Its context length.
    pub context_length: Option<u32>,
    /// Its slots.
    pub slots: Option<u32>,
    /// Its version.
    pub version: Option<String>,
    /// Its load.
    pub load: EngineLoad,
    /// Its error.
    pub error: Option<String>,
}

/// What a server is that answers every request with `body`, in the words of a log.
#[must_use]
pub fn identity(status: StatusCode, body: &[u8]) -> String {
    identity_of(status, body).to_string()
}

/// Parses `body` as each of the answers of this kind of engine.
#[must_use]
pub fn read(kind: &EngineKind, body: &[u8]) -> Report {
    let dialect = dialect(kind);
    let profile = dialect.profile();
    let questions = profile.questions.iter().map(|question| question.path);
    let mut report = EngineReport::default();
    for path in questions.chain([profile.readiness]) {
        if path != MODELS && dialect.read(path, body, &mut report) {
            report.understood.push(path);
        }
    }
    let mut models = answer::models(body);
    if let Some(list) = &mut models {
        dialect.complete_models(list);
    }
    let listed = models.as_ref().and_then(|list| list.context_length);
    Report {
        models: models.map(|list| list.names),
        context_length: report.context_length.or(listed),
        slots: report.slots,
        version: report.version,
        load: report.load,
        error: answer::error_message(body),
    }
}
