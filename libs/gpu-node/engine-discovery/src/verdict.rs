//! What a search says of a place, and the handoff of an engine that it found.

use std::{fmt, net::IpAddr};

use engine_probe::Identity;
use pool_registry_types::{
    EngineKind, Handoff, HttpUrl, KnownEngine, ModelName, PoolId, ReplicaId, Text,
};

/// The slots of an engine that reports none, where its kind serves several requests at once. It
/// is far less than such an engine serves by default, so none gets more than it can take.
const DEFAULT_PARALLEL_SLOTS: u32 = 16;

/// An engine that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// Its kind.
    pub kind: KnownEngine,
    /// Its version, as it reports it.
    pub version: Option<Text>,
    /// How many requests it serves at once, as it reports it.
    pub slots: Option<u32>,
    /// Its models that can be offered.
    pub models: Vec<ModelName>,
}

impl Engine {
    /// The slots that it reports, or a number that its kind serves at least.
    #[must_use]
    pub fn slots_or_default(&self) -> u32 {
        self.slots.unwrap_or(match self.kind {
            KnownEngine::Vllm | KnownEngine::Sglang | KnownEngine::Tgi => DEFAULT_PARALLEL_SLOTS,
            // By default they serve one request at a time, or it is not known.
            _ => 1,
        })
    }
}

/// What is at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// An engine that takes requests.
    Engine(Engine),
    /// An engine that takes none now; why, for people.
    NotReady(KnownEngine, String),
    /// It demands a key.
    NeedsKey(Option<KnownEngine>),
    /// Several sockets listen there, so requests would go to either of their processes.
    Shared(usize),
    /// A daemon of this project.
    Ours(&'static str),
    /// Another server; why, for people.
    NotAnEngine(String),
    /// Nothing listens there.
    Closed,
    /// No answer, or none of HTTP; how, for people.
    NoAnswer(String),
}

/// In plain words, as a sentence without its subject.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(engine) => write!(f, "an engine of the kind {}", engine.kind.name()),
            Self::NotReady(kind, why) => {
                write!(
                    f,
                    "an engine of the kind {} that is not ready: {why}",
                    kind.name()
                )
            }
            Self::NeedsKey(Some(kind)) => {
                write!(
                    f,
                    "an engine of the kind {} that demands an API key",
                    kind.name()
                )
            }
            Self::NeedsKey(None) => f.write_str("a server that demands an API key"),
            Self::Shared(sockets) => write!(
                f,
                "{sockets} sockets share this port, so a request would go to either of them"
            ),
            Self::Ours(daemon) => write!(f, "{daemon} of this project"),
            Self::NotAnEngine(why) => write!(f, "no engine: {why}"),
            Self::Closed => f.write_str("closed"),
            Self::NoAnswer(why) => write!(f, "no answer: {why}"),
        }
    }
}

impl Verdict {
    /// The verdict without what an engine says of itself; `None` for an engine.
    pub(crate) fn of_other(identity: Identity) -> Result<Self, KnownEngine> {
        match identity {
            Identity::Engine(kind) => Err(kind),
            Identity::NeedsKey(kind) => Ok(Self::NeedsKey(kind)),
            Identity::Ours(daemon) => Ok(Self::Ours(daemon)),
            Identity::NotAnEngine(why) => Ok(Self::NotAnEngine(why)),
            Identity::Closed => Ok(Self::Closed),
            Identity::NoAnswer(why) => Ok(Self::NoAnswer(why)),
        }
    }

    /// The kind of engine there, if it is known to be one.
    #[must_use]
    pub fn kind(&self) -> Option<KnownEngine> {
        match self {
            Self::Engine(engine) => Some(engine.kind),
            Self::NotReady(kind, _) | Self::NeedsKey(Some(kind)) => Some(*kind),
            _ => None,
        }
    }
}

/// The handoff of an engine at `url`: in `pool`, or in one that is named like its kind. The replica
/// is named like its port, so that two engines of a machine differ.
#[must_use]
pub fn handoff_of(engine: &Engine, url: &HttpUrl, pool: Option<&PoolId>) -> Option<Handoff> {
    let kind = EngineKind::from(engine.kind);
    let pool = match pool {
        Some(pool) => pool.clone(),
        None => PoolId::new(kind.as_str()).ok()?,
    };
    let replica = ReplicaId::new(&replica_name(url)).ok()?;
    Some(Handoff::new(
        pool,
        replica,
        kind,
        url.clone(),
        engine.slots_or_default(),
    ))
}

fn replica_name(url: &HttpUrl) -> String {
    let port = url.port();
    match url.host().parse::<IpAddr>() {
        Ok(ip) if !ip.is_loopback() && !ip.is_unspecified() => {
            format!("{}-{port}", ip.to_string().replace(':', "-"))
        }
        _ => port.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(kind: KnownEngine, slots: Option<u32>) -> Engine {
        Engine {
            kind,
            version: None,
            slots,
            models: Vec::new(),
        }
    }

    // spec: FIND-10
    #[test]
    fn a_handoff_has_the_slots_of_the_engine_and_a_name_of_its_own() {
        for (kind, slots, url, expected) in [
            (
                KnownEngine::LlamaCpp,
                Some(4),
                "http://127.0.0.1:8080",
                ("llamacpp", "8080", 4),
            ),
            (
                KnownEngine::Vllm,
                None,
                "http://localhost:8000",
                ("vllm", "8000", 16),
            ),
            (
                KnownEngine::Ollama,
                None,
                "http://[::1]:11434",
                ("ollama", "11434", 1),
            ),
            (
                KnownEngine::Vllm,
                None,
                "http://10.88.0.1:80",
                ("vllm", "10.88.0.1-80", 16),
            ),
            (
                KnownEngine::OpenAi,
                None,
                "http://[fd00::1]:80",
                ("openai", "fd00--1-80", 1),
            ),
        ] {
            let url = HttpUrl::new(url).unwrap();
            let handoff = handoff_of(&engine(kind, slots), &url, None).unwrap();
            let found = (
                handoff.pool_id.as_str(),
                handoff.replica_id.as_str(),
                handoff.slots(),
            );
            assert_eq!(found, expected);
        }
        let pool = PoolId::new("chat").unwrap();
        let url = HttpUrl::new("http://localhost:1").unwrap();
        let handoff = handoff_of(&engine(KnownEngine::Vllm, None), &url, Some(&pool)).unwrap();
        assert_eq!(handoff.pool_id, pool);
    }
}
