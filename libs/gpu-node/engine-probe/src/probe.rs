//! A single probe of one engine.

use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, uri::PathAndQuery};
use pool_registry::ProbeOutcome;
use pool_registry_types::{EngineKind, EngineLoad, HttpUrl};
use stream_proxy::GetError;
use thiserror::Error;

use crate::{
    answer::{error_message, models},
    figures,
    kind::{MODELS, readiness_path},
};

/// The longest answer that is read, in bytes. A thousand models take a fraction of it.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// What to ask an engine, in addition to its readiness.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProbeScope {
    /// Its models.
    pub models: bool,
    /// What does not change while it runs: its version and slots.
    pub traits: bool,
    /// Its load.
    pub load: bool,
}

impl ProbeScope {
    /// Only its readiness.
    pub const READINESS: Self = Self {
        models: false,
        traits: false,
        load: false,
    };

    /// Everything.
    pub const ALL: Self = Self {
        models: true,
        traits: true,
        load: true,
    };
}

/// This process could not ask: it is at a limit of its own, or was late itself. The state of the
/// engine is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NotAsked(String);

/// Probes the engine at `url`; each request may take `limit`.
///
/// An error of the engine is a part of the outcome: the engine is not ready. Values that it does
/// not report are missing from the outcome.
///
/// # Errors
/// When the engine was not asked, or not in time, because of this process.
pub async fn probe(
    kind: &EngineKind,
    url: &HttpUrl,
    ask: ProbeScope,
    limit: Duration,
) -> Result<ProbeOutcome, NotAsked> {
    let engine = Engine { kind, url, limit };
    let mut path = readiness_path(kind);
    let mut answer = engine.get(path).await;
    // An old version may not have the path.
    if path != MODELS && matches!(answer, Ok((StatusCode::NOT_FOUND, _))) {
        path = MODELS;
        answer = engine.get(path).await;
    }
    let body = match answer {
        Ok((status, body)) if takes_requests(status) => body,
        Ok((status, body)) => return Ok(ProbeOutcome::failed(refusal(url, path, status, &body))),
        Err(error) if error.is_own() => return Err(NotAsked(error.with_causes())),
        Err(error) => {
            let reason = format!("GET {url}{path}: {}", error.with_causes());
            return Ok(ProbeOutcome::failed(reason));
        }
    };
    let mut outcome = ProbeOutcome::ready();
    if path == MODELS {
        outcome.models = models(kind, &body);
    } else if ask.models {
        outcome.models = engine
            .body(MODELS)
            .await
            .and_then(|body| models(kind, &body));
    }
    if ask.traits || ask.load {
        engine.figures(ask, &body, &mut outcome).await;
    }
    Ok(outcome)
}

/// One engine, and the timeout of a request.
struct Engine<'a> {
    kind: &'a EngineKind,
    url: &'a HttpUrl,
    limit: Duration,
}

impl Engine<'_> {
    /// A new connection per request also tests that the engine accepts connections.
    async fn get(&self, path: &'static str) -> Result<(StatusCode, Bytes), GetError> {
        stream_proxy::get(
            self.url,
            PathAndQuery::from_static(path),
            self.limit,
            MAX_BODY_BYTES,
        )
        .await
    }

    /// The body of a successful answer.
    async fn body(&self, path: &'static str) -> Option<Bytes> {
        let (status, body) = self.get(path).await.ok()?;
        status.is_success().then_some(body)
    }

    /// Reads version, slots and load of this kind of engine; `ready` is the answer to the readiness
    /// request.
    async fn figures(&self, ask: ProbeScope, ready: &[u8], outcome: &mut ProbeOutcome) {
        // Values that are not reported now are unknown.
        let mut load = EngineLoad::default();
        match self.kind.as_str() {
            "llamacpp" => self.llama(ask, outcome, &mut load).await,
            "vllm" => {
                if ask.traits {
                    outcome.engine_version = self
                        .body("/version")
                        .await
                        .and_then(|b| figures::version(&b));
                }
                if ask.load
                    && let Some(body) = self.body("/metrics").await
                {
                    load = figures::vllm_metrics(&body);
                }
            }
            "sglang" => self.sglang(ask, outcome, &mut load).await,
            "ollama" => {
                outcome.engine_version = figures::version(ready);
                if ask.load {
                    load.models_loaded = self
                        .body("/api/ps")
                        .await
                        .and_then(|b| figures::ollama_loaded(&b));
                }
            }
            "tgi" => {
                if ask.traits
                    && let Some(body) = self.body("/info").await
                {
                    (outcome.slots, outcome.engine_version) = figures::tgi_info(&body);
                }
                if ask.load
                    && let Some(body) = self.body("/metrics").await
                {
                    load = figures::tgi_metrics(&body);
                }
            }
            _ => {}
        }
        if ask.load {
            outcome.load = Some(load);
        }
    }

    /// Does not use `/slots`: it wakes a sleeping server and keeps it awake. `/props` and
    /// `/metrics` do neither.
    async fn llama(&self, ask: ProbeScope, outcome: &mut ProbeOutcome, load: &mut EngineLoad) {
        let Some(body) = self.body("/props").await else {
            return;
        };
        let props = figures::props(&body);
        let is_router = props.slots.is_none();
        (outcome.slots, outcome.engine_version) = (props.slots, props.version);
        if !ask.load {
            return;
        }
        if props.has_metrics
            && let Some(body) = self.body("/metrics").await
        {
            *load = figures::llama_metrics(&body);
        }
        load.sleeping = props.sleeping;
        if is_router {
            load.models_loaded = self
                .body("/models")
                .await
                .and_then(|b| figures::llama_loaded(&b));
        }
    }

    /// One answer has everything, in versions that have the path.
    async fn sglang(&self, ask: ProbeScope, outcome: &mut ProbeOutcome, load: &mut EngineLoad) {
        let loads = self.body("/v1/loads?include=core").await;
        if let Some(loads) = loads.and_then(|body| figures::sglang_loads(&body)) {
            (outcome.slots, outcome.engine_version) = (loads.slots, loads.version);
            *load = loads.load;
        } else if ask.load
            && let Some(body) = self.body("/metrics").await
        {
            *load = figures::sglang_metrics(&body);
        }
    }
}

/// An engine that requires a key is ready: it takes requests with the key.
fn takes_requests(status: StatusCode) -> bool {
    status.is_success() || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn refusal(url: &HttpUrl, path: &str, status: StatusCode, body: &[u8]) -> String {
    let status = status.as_u16();
    match error_message(body) {
        Some(message) => format!("GET {url}{path}: {status}: {message}"),
        None => format!("GET {url}{path}: {status}"),
    }
}
