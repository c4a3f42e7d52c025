//! Finds out what answers at a URL: an engine of which kind, one of our daemons, or something else.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{StatusCode, uri::PathAndQuery};
use pool_registry::{EngineKey, ProbeOutcome};
use pool_registry_types::{
    EngineKind, HealthAnswer, HttpUrl, KnownEngine, ORCHESTRATORD, POOL_MANAGERD,
};
use serde_json::Value;
use stream_proxy::{ForwardError, GetError, get_authorized};

use crate::{
    answer::{ModelList, models},
    dialect::{MODELS, Mark, Shows},
    kinds::dialect,
    parse::json,
    probe::{EngineAt, MAX_BODY_BYTES, NotAsked},
};

/// Where our own daemons, and some engines, report their health.
const HEALTH: &str = "/health";

/// What answers at a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// An engine of this kind. A server that only lists its models is of the kind `openai`.
    Engine(KnownEngine),
    /// It demands a key, or another one. The kind where it shows without one.
    NeedsKey(Option<KnownEngine>),
    /// A daemon of this project, with the name of its program.
    Ours(&'static str),
    /// Something else; why, for people.
    NotAnEngine(String),
    /// Nothing listens there.
    Closed,
    /// There is no answer in time, or none of HTTP; how, for people.
    NoAnswer(String),
}

/// Continues a sentence: `there is an engine of the kind vllm`.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(KnownEngine::OpenAi) => {
                f.write_str("there is an engine that shows no kind")
            }
            Self::Engine(kind) => write!(f, "there is an engine of the kind {}", kind.name()),
            Self::NeedsKey(Some(kind)) => write!(
                f,
                "there is an engine of the kind {} that demands an API key",
                kind.name()
            ),
            Self::NeedsKey(None) => f.write_str("there is a server that demands an API key"),
            Self::Ours(daemon) => write!(f, "{daemon} of this project listens there"),
            Self::NotAnEngine(why) => write!(f, "there is no engine: {why}"),
            Self::Closed => f.write_str("nothing listens there"),
            Self::NoAnswer(why) => write!(f, "there is no answer: {why}"),
        }
    }
}

/// Asks what answers at `url`. Each request may take `limit`; a server that answers none of them is
/// asked once.
///
/// # Errors
/// When it was not asked because of this process.
pub async fn identify(
    url: &HttpUrl,
    key: Option<&EngineKey>,
    limit: Duration,
) -> Result<Identity, NotAsked> {
    let mut evidence = Evidence::default();
    for path in paths() {
        match ask(url, key, path, limit).await {
            Ok((status, body)) => evidence.learn(path, status, &body),
            Err(error) if error.is_own() => return Err(NotAsked::new(error.with_causes())),
            // It has answered before, so only this path is at fault.
            Err(_) if evidence.has_answer => {}
            Err(GetError::Forward(ForwardError::Connect { .. })) => return Ok(Identity::Closed),
            Err(error) => return Ok(Identity::NoAnswer(error.with_causes())),
        }
        if let Some(identity) = evidence.decided() {
            return Ok(identity);
        }
    }
    Ok(evidence.conclude())
}

/// What answers in the place of an engine that was announced as `kind`; `None` when nothing
/// contradicts that. `outcome` is that of a good probe, which may show it without another request.
pub(crate) async fn contradiction(
    engine: EngineAt<'_>,
    outcome: &ProbeOutcome,
    limit: Duration,
) -> Result<Option<Identity>, NotAsked> {
    let EngineAt { kind, url, key } = engine;
    match kind.known().filter(|kind| *kind != KnownEngine::OpenAi) {
        Some(known) => {
            let owner = outcome.owned_by.as_deref();
            if owner.and_then(kind_of_owner) == Some(known)
                || has_mark(engine, known, limit).await?
            {
                return Ok(None);
            }
        }
        // Any server that lists models is one, except a daemon of this project.
        None if outcome
            .models
            .as_ref()
            .is_some_and(|names| !names.is_empty()) =>
        {
            let answer = own_errors(ask(url, key, HEALTH, limit).await)?;
            let daemon = answer.and_then(|(_, body)| daemon(&body));
            return Ok(daemon.map(Identity::Ours));
        }
        None => {}
    }
    let found = identify(url, key, limit).await?;
    Ok(Some(found).filter(|found| contradicts(kind, found)))
}

/// Whether an answer of the engine is one that only `kind` gives.
async fn has_mark(
    engine: EngineAt<'_>,
    kind: KnownEngine,
    limit: Duration,
) -> Result<bool, NotAsked> {
    for mark in marks(kind) {
        let answer = ask(engine.url, engine.key, mark.path, limit).await;
        if own_errors(answer)?.is_some_and(|(_, body)| shows(mark.shows, &body)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An answer, if there is one. An error of this process says nothing about the engine.
fn own_errors<T>(answer: Result<T, GetError>) -> Result<Option<T>, NotAsked> {
    match answer {
        Err(error) if error.is_own() => Err(NotAsked::new(error.with_causes())),
        answer => Ok(answer.ok()),
    }
}

/// Whether `found` cannot be an engine that was announced as `kind`.
pub(crate) fn contradicts(kind: &EngineKind, found: &Identity) -> bool {
    match (found, kind.known()) {
        (Identity::Ours(_) | Identity::NotAnEngine(_), _) => true,
        // Any engine has the OpenAI API, and one that shows no kind may be of any.
        (Identity::Engine(_), None | Some(KnownEngine::OpenAi))
        | (Identity::Engine(KnownEngine::OpenAi), _) => false,
        (Identity::Engine(found), Some(known)) => *found != known,
        // Whether it answers is for the probe to say.
        (Identity::NeedsKey(_) | Identity::Closed | Identity::NoAnswer(_), _) => false,
    }
}

/// The kind of engine that names `owner` as the owner of its models.
fn kind_of_owner(owner: &str) -> Option<KnownEngine> {
    KnownEngine::all().find(|kind| {
        let identity = &dialect(&EngineKind::from(*kind)).profile().identity;
        identity.owners.contains(&owner)
    })
}

/// The paths to ask, each once.
fn paths() -> Vec<&'static str> {
    let mut paths = vec![HEALTH, MODELS];
    for kind in KnownEngine::all() {
        for Mark { path, .. } in marks(kind) {
            if !paths.contains(path) {
                paths.push(path);
            }
        }
    }
    paths
}

fn marks(kind: KnownEngine) -> &'static [Mark] {
    dialect(&EngineKind::from(kind)).profile().identity.marks
}

async fn ask(
    url: &HttpUrl,
    key: Option<&EngineKey>,
    path: &'static str,
    limit: Duration,
) -> Result<(StatusCode, Bytes), GetError> {
    let path = PathAndQuery::from_static(path);
    let key = key.map(EngineKey::header);
    get_authorized(url, path, key, limit, MAX_BODY_BYTES).await
}

/// What the answers so far show. No I/O.
#[derive(Debug, Default)]
struct Evidence {
    has_answer: bool,
    kind: Option<KnownEngine>,
    ours: Option<&'static str>,
    models: Option<ModelList>,
    demands_key: bool,
    /// What else was at [`MODELS`].
    other: Option<String>,
    is_web_page: bool,
}

impl Evidence {
    /// Takes an answer of `path`.
    fn learn(&mut self, path: &str, status: StatusCode, body: &[u8]) {
        self.has_answer = true;
        if path == HEALTH {
            self.ours = daemon(body);
        }
        if path == MODELS {
            self.learn_models(status, body);
        }
        if self.kind.is_none() {
            self.kind = KnownEngine::all().find(|kind| {
                let mut marks = marks(*kind).iter();
                marks.any(|mark| mark.path == path && shows(mark.shows, body))
            });
        }
    }

    fn learn_models(&mut self, status: StatusCode, body: &[u8]) {
        self.demands_key = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        self.models = status.is_success().then(|| models(body)).flatten();
        let owner = self
            .models
            .as_ref()
            .and_then(|list| list.owned_by.as_deref());
        self.kind = self.kind.or_else(|| owner.and_then(kind_of_owner));
        if self.models.is_none() {
            self.is_web_page = status.is_success() && is_html(body);
            let what = if is_html(body) {
                "a web page (HTML)"
            } else {
                "no list of models"
            };
            let code = status.as_u16();
            self.other = Some(format!("GET {MODELS} answers {code} with {what}"));
        }
    }

    /// What answers, once no further answer can change it.
    fn decided(&self) -> Option<Identity> {
        if let Some(daemon) = self.ours {
            return Some(Identity::Ours(daemon));
        }
        // The list of models is asked early, and shows whether a key is missing.
        let knows_models = self.models.is_some() || self.other.is_some();
        match self.kind {
            Some(kind) if knows_models => Some(self.engine(kind)),
            // A page for every path would answer all other questions as well.
            None if self.is_web_page => self.other.clone().map(Identity::NotAnEngine),
            _ => None,
        }
    }

    /// What answers, after the last answer.
    fn conclude(self) -> Identity {
        if let Some(decided) = self.decided() {
            return decided;
        }
        match (self.kind, &self.models) {
            (Some(kind), _) => self.engine(kind),
            // A list of nothing says nothing.
            (None, Some(list)) if !list.names.is_empty() => self.engine(KnownEngine::OpenAi),
            (None, _) if self.demands_key => Identity::NeedsKey(None),
            (None, Some(_)) => Identity::NotAnEngine("it lists no models".to_owned()),
            (None, None) => Identity::NotAnEngine(self.other.unwrap_or_default()),
        }
    }

    fn engine(&self, kind: KnownEngine) -> Identity {
        if self.demands_key {
            Identity::NeedsKey(Some(kind))
        } else {
            Identity::Engine(kind)
        }
    }
}

/// What a server is that answers every request with this status and body.
#[cfg(feature = "fuzzing")]
pub(crate) fn identity_of(status: StatusCode, body: &[u8]) -> Identity {
    let mut evidence = Evidence::default();
    for path in paths() {
        evidence.learn(path, status, body);
        if let Some(identity) = evidence.decided() {
            return identity;
        }
    }
    evidence.conclude()
}

/// The daemon of this project that gives this answer.
fn daemon(body: &[u8]) -> Option<&'static str> {
    let answer: HealthAnswer = serde_json::from_slice(body).ok()?;
    let service = answer.service?;
    [POOL_MANAGERD, ORCHESTRATORD]
        .into_iter()
        .find(|name| *name == service)
}

fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

fn shows(what: Shows, body: &[u8]) -> bool {
    match what {
        Shows::Value(pointer) => {
            json(body).is_some_and(|answer| answer.pointer(pointer).is_some_and(|at| !at.is_null()))
        }
        Shows::Text(pointer, part) => json(body).is_some_and(|answer| {
            let text = answer.pointer(pointer).and_then(Value::as_str);
            text.is_some_and(|text| text.contains(part))
        }),
        Shows::Metric(start) => body
            .split(|byte| *byte == b'\n')
            .any(|line| line.starts_with(start.as_bytes())),
    }
}
