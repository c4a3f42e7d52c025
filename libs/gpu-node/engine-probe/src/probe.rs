//! Asks one engine once.

use std::time::Duration;

use pool_registry::ProbeOutcome;
use pool_registry_types::{EngineKind, HttpUrl};

use crate::{
    answer::{complaint, models, version},
    get::{Answer, get},
    kind::{MODELS, readiness_path},
};

/// What to ask an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Whether it takes requests.
    Readiness,
    /// Also which models it serves, when it takes requests.
    Models,
}

/// Asks the engine at `url`, each question at most `limit` long.
///
/// Whatever goes wrong is part of the outcome: the engine did not say that it is ready.
pub async fn probe(kind: &EngineKind, url: &HttpUrl, ask: Ask, limit: Duration) -> ProbeOutcome {
    let mut path = readiness_path(kind);
    let mut answer = get(url, path, limit).await;
    // An engine too old to know the path is not for that reason unwell.
    if path != MODELS && answer.as_ref().is_ok_and(|answer| answer.status == 404) {
        path = MODELS;
        answer = get(url, path, limit).await;
    }
    let answer = match answer {
        Ok(answer) if takes_requests(answer.status) => answer,
        Ok(answer) => return ProbeOutcome::failed(refusal(url, path, &answer)),
        Err(error) => return ProbeOutcome::failed(format!("GET {url}{path}: {error}")),
    };
    let mut outcome = ProbeOutcome::ready();
    if path == MODELS {
        outcome.models = models(kind, &answer.body);
        return outcome;
    }
    outcome.engine_version = version(&answer.body);
    if ask == Ask::Models
        && let Ok(answer) = get(url, MODELS, limit).await
        && is_success(answer.status)
    {
        outcome.models = models(kind, &answer.body);
    }
    outcome
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// An engine that wants a key from us is there, and takes requests of those who have it.
fn takes_requests(status: u16) -> bool {
    is_success(status) || matches!(status, 401 | 403)
}

fn refusal(url: &HttpUrl, path: &str, answer: &Answer) -> String {
    let status = answer.status;
    match complaint(&answer.body) {
        Some(words) => format!("GET {url}{path}: {status}: {words}"),
        None => format!("GET {url}{path}: {status}"),
    }
}
