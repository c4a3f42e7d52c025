//! Asks one engine once.

use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, uri::PathAndQuery};
use pool_registry::ProbeOutcome;
use pool_registry_types::{EngineKind, HttpUrl};
use stream_proxy::GetError;

use crate::{
    answer::{complaint, models, version},
    kind::{MODELS, readiness_path},
};

/// The most of an answer's body that is read, in bytes. A thousand models need a fraction of it.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

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
    if path != MODELS && matches!(answer, Ok((StatusCode::NOT_FOUND, _))) {
        path = MODELS;
        answer = get(url, path, limit).await;
    }
    let body = match answer {
        Ok((status, body)) if takes_requests(status) => body,
        Ok((status, body)) => return ProbeOutcome::failed(refusal(url, path, status, &body)),
        Err(error) => return ProbeOutcome::failed(format!("GET {url}{path}: {}", error.with_causes())),
    };
    let mut outcome = ProbeOutcome::ready();
    if path == MODELS {
        outcome.models = models(kind, &body);
        return outcome;
    }
    outcome.engine_version = version(&body);
    if ask == Ask::Models
        && let Ok((status, body)) = get(url, MODELS, limit).await
        && status.is_success()
    {
        outcome.models = models(kind, &body);
    }
    outcome
}

/// A connection per question tells what a kept one cannot: that a new request would get through.
async fn get(url: &HttpUrl, path: &'static str, limit: Duration) -> Result<(StatusCode, Bytes), GetError> {
    stream_proxy::get(url, PathAndQuery::from_static(path), limit, MAX_BODY_BYTES).await
}

/// An engine that wants a key from us is there, and takes requests of those who have it.
fn takes_requests(status: StatusCode) -> bool {
    status.is_success() || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn refusal(url: &HttpUrl, path: &str, status: StatusCode, body: &[u8]) -> String {
    let status = status.as_u16();
    match complaint(body) {
        Some(words) => format!("GET {url}{path}: {status}: {words}"),
        None => format!("GET {url}{path}: {status}"),
    }
}
