//! Entry points for the fuzz targets. Not a part of the API.

use pool_registry_types::{EngineKind, EngineLoad};

use crate::{answer, figures};

/// Everything that an answer of an engine may contain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Its models.
    pub models: Option<Vec<String>>,
    /// Its slots.
    pub slots: Option<u32>,
    /// Its version.
    pub version: Option<String>,
    /// Its load.
    pub load: EngineLoad,
    /// Its error.
    pub error: Option<String>,
}

/// Parses `body` as each of the answers of this kind of engine.
#[must_use]
pub fn read(kind: &EngineKind, body: &[u8]) -> Report {
    let mut report = Report {
        models: answer::models(kind, body),
        error: answer::error_message(body),
        ..Report::default()
    };
    match kind.as_str() {
        "vllm" => {
            report.version = figures::version(body);
            report.load = figures::vllm_metrics(body);
        }
        "ollama" => {
            report.version = figures::version(body);
            report.load.models_loaded = figures::ollama_loaded(body);
        }
        "tgi" => {
            (report.slots, report.version) = figures::tgi_info(body);
            report.load = figures::tgi_metrics(body);
        }
        "sglang" => match figures::sglang_loads(body) {
            Some(loads) => {
                report.slots = loads.slots;
                report.version = loads.version;
                report.load = loads.load;
            }
            None => report.load = figures::sglang_metrics(body),
        },
        _ => {
            let props = figures::props(body);
            report.slots = props.slots;
            report.version = props.version;
            report.load = figures::llama_metrics(body);
            report.load.sleeping = props.sleeping;
            report.load.models_loaded = figures::llama_loaded(body);
        }
    }
    report
}
