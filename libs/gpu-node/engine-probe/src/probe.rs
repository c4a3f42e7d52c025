//! A single probe of one engine.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use http::{StatusCode, uri::PathAndQuery};
use pool_registry::{EngineKey, ProbeOutcome};
use pool_registry_types::{EngineKind, HttpUrl, KnownEngine};
use stream_proxy::{GetError, get_authorized};
use thiserror::Error;

use crate::{
    answer::{error_message, models},
    dialect::{Dialect, Figures, MODELS, Report},
    kinds::dialect,
};

/// The longest answer that is read, in bytes. A thousand models take a fraction of it.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// What to ask an engine, in addition to its readiness.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProbeScope {
    /// Its models.
    pub models: bool,
    /// What does not change while it runs: its version, slots and context length.
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

    fn wants(self, figures: Figures) -> bool {
        match figures {
            Figures::Traits => self.traits,
            Figures::Load => self.load,
            Figures::Both => self.traits || self.load,
        }
    }
}

/// This process could not ask: it is at a limit of its own, or was late itself. The state of the
/// engine is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NotAsked(String);

impl NotAsked {
    pub(crate) fn new(why: String) -> Self {
        Self(why)
    }
}

/// The engine to probe.
#[derive(Debug, Clone, Copy)]
pub struct EngineAt<'a> {
    /// What kind of engine it is.
    pub kind: &'a EngineKind,
    /// Where it listens.
    pub url: &'a HttpUrl,
    /// The key that it demands.
    pub key: Option<&'a EngineKey>,
}

/// Probes an engine; each request may take `limit`.
///
/// An error of the engine is a part of the outcome: the engine is not ready. Values that it does
/// not report are missing from the outcome.
///
/// # Errors
/// When the engine was not asked, or not in time, because of this process.
pub async fn probe(
    engine: EngineAt<'_>,
    ask: ProbeScope,
    limit: Duration,
) -> Result<ProbeOutcome, NotAsked> {
    let mut probe = Probe {
        engine,
        limit,
        dialect: dialect(engine.kind),
        report: Report::default(),
    };
    match probe.run(ask).await {
        Ok(()) => Ok(outcome(probe.report, ask)),
        Err(Failure::NotAsked(error)) => Err(error),
        Err(Failure::NotReady(outcome)) => Ok(outcome),
    }
}

/// Why a probe ended early.
enum Failure {
    NotAsked(NotAsked),
    NotReady(ProbeOutcome),
}

/// One engine, what it has reported so far, and the timeout of a request.
struct Probe<'a> {
    engine: EngineAt<'a>,
    limit: Duration,
    dialect: &'static dyn Dialect,
    report: Report,
}

impl Probe<'_> {
    async fn run(&mut self, ask: ProbeScope) -> Result<(), Failure> {
        let profile = self.dialect.profile();
        let mut path = profile.readiness;
        let mut answer = self.get(path).await;
        // An old version may not have the path.
        if path != MODELS && matches!(answer, Ok((StatusCode::NOT_FOUND, _))) {
            path = MODELS;
            answer = self.get(path).await;
        }
        let body = match answer {
            Ok((status, body)) if status.is_success() => body,
            Ok((status, body)) => return Err(self.refusal(path, status, &body)),
            Err(error) if error.is_own() => {
                return Err(Failure::NotAsked(NotAsked(error.with_causes())));
            }
            Err(error) => {
                let url = self.engine.url;
                let reason = format!("GET {url}{path}: {}", error.with_causes());
                return Err(Failure::NotReady(ProbeOutcome::failed(reason)));
            }
        };
        self.read(path, &body);
        // The list also shows the context length, and whether the engine demands a key: some
        // protect nothing but `/v1`.
        if path != MODELS && (ask.models || ask.traits) {
            self.ask(MODELS).await?;
        }
        for question in profile.questions {
            if ask.wants(question.figures)
                && self.dialect.is_worth_asking(question.path, &self.report)
            {
                self.ask(question.path).await?;
            }
        }
        Ok(())
    }

    /// Reads the answer of `path`, if there is one.
    async fn ask(&mut self, path: &'static str) -> Result<(), Failure> {
        match self.get(path).await {
            Ok((status, body)) if status.is_success() => self.read(path, &body),
            Ok((status, body)) if demands_key(status) => {
                return Err(self.refusal(path, status, &body));
            }
            // It need not have the path.
            _ => {}
        }
        Ok(())
    }

    /// A new connection per request also tests that the engine accepts connections.
    async fn get(&self, path: &'static str) -> Result<(StatusCode, Bytes), GetError> {
        let key = self.engine.key.map(EngineKey::header);
        get_authorized(
            self.engine.url,
            PathAndQuery::from_static(path),
            key,
            self.limit,
            MAX_BODY_BYTES,
        )
        .await
    }

    fn read(&mut self, path: &'static str, body: &[u8]) {
        if path == MODELS {
            self.report.models = models(body).map(|mut list| {
                self.dialect.complete_models(&mut list);
                list
            });
        } else if self.dialect.read(path, body, &mut self.report) {
            self.report.understood.push(path);
        }
    }

    fn refusal(&self, path: &str, status: StatusCode, body: &[u8]) -> Failure {
        let EngineAt { kind, url, key } = self.engine;
        let code = status.as_u16();
        if demands_key(status) {
            let reason = if key.is_some() {
                format!(
                    "the engine refuses the key in its api_key_file: GET {url}{path}: {code}; \
                     write the right key into that file"
                )
            } else {
                format!(
                    "the engine demands an API key: GET {url}{path}: {code}; set api_key_file in \
                     its handoff or pool to a file that holds the key"
                )
            };
            return Failure::NotReady(ProbeOutcome::refused(reason));
        }
        let mut reason = match error_message(body) {
            Some(message) => format!("GET {url}{path}: {code}: {message}"),
            None => format!("GET {url}{path}: {code}"),
        };
        if kind.known().is_none() {
            let _ = write!(
                reason,
                "; the kind {kind} is not known, so it is asked like any server with the OpenAI \
                 API; known are {}",
                KnownEngine::names()
            );
        }
        Failure::NotReady(ProbeOutcome::failed(reason))
    }
}

/// Whether an answer means that the engine wants another key, or any.
fn demands_key(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn outcome(report: Report, ask: ProbeScope) -> ProbeOutcome {
    let Report {
        models,
        context_length,
        slots,
        version,
        load,
        ..
    } = report;
    let listed = models.as_ref().and_then(|list| list.context_length);
    let owned_by = models.as_ref().and_then(|list| list.owned_by.clone());
    // With declared models, only the traits in the list count.
    let names = models.filter(|_| ask.models || !ask.traits);
    ProbeOutcome {
        models: names.map(|list| list.names),
        // What the engine says of itself is more than what it says of a model.
        context_length: context_length.or(listed),
        owned_by,
        slots,
        engine_version: version,
        load: ask.load.then_some(load),
        ..ProbeOutcome::ready()
    }
}
