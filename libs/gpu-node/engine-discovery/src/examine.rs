//! Asks the candidates of this machine.

use std::{io, net::SocketAddr, time::Duration};

use engine_probe::{EngineAt, ProbeScope, identify, probe};
use futures_util::{StreamExt as _, stream};
use pool_registry::EngineKey;
use pool_registry_types::{EngineKind, HttpUrl, KnownEngine, Text, usable_models};

use crate::{
    candidates::{Candidate, candidates},
    own_machine,
    sockets::listeners,
    verdict::{Engine, Verdict},
};

/// How long a request may take. Nothing that is asked waits for a token.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The most candidates that are asked at a time.
const CONCURRENT: usize = 8;

/// What to search.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// The ports at which engines usually are.
    pub ports: Vec<u16>,
    /// Where this process listens itself.
    pub own: Vec<SocketAddr>,
}

/// What was found at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The place.
    pub candidate: Candidate,
    /// The URL that was asked.
    pub url: HttpUrl,
    /// What is there.
    pub verdict: Verdict,
}

impl Search {
    /// The places that are worth asking now.
    #[must_use]
    pub fn candidates(&self) -> Vec<Candidate> {
        candidates(
            &listeners(),
            &own_machine::bridge_addresses(),
            &self.ports,
            &self.own,
        )
    }
}

/// Asks every place of a search, in the order of [`candidates`]. Closed places are left out.
pub async fn discover(search: &Search) -> Vec<Found> {
    let mut found = look_at_all(search.candidates()).await;
    found.retain(|found| found.verdict != Verdict::Closed);
    found
}

/// Asks places, several at a time. The answers are in their order.
pub async fn look_at_all(candidates: Vec<Candidate>) -> Vec<Found> {
    let found = stream::iter(candidates).map(look_at).buffered(CONCURRENT);
    found.filter_map(|found| async { found }).collect().await
}

/// Asks one place, at the first of its addresses that accepts a connection. `None` when no URL
/// leads there.
async fn look_at(candidate: Candidate) -> Option<Found> {
    let mut last = None;
    for host in &candidate.hosts {
        let address = SocketAddr::new(*host, candidate.port);
        let url = HttpUrl::new(&format!("http://{address}")).ok()?;
        let verdict = match candidate.sockets {
            0 | 1 => examine(&url, None).await,
            sockets => Verdict::Shared(sockets),
        };
        let is_closed = verdict == Verdict::Closed;
        last = Some((url, verdict));
        if !is_closed {
            break;
        }
    }
    last.map(|(url, verdict)| Found {
        candidate,
        url,
        verdict,
    })
}

/// Asks the server at `url`, with the key of an engine if it has one.
pub async fn examine(url: &HttpUrl, key: Option<&EngineKey>) -> Verdict {
    let identity = match identify(url, key, REQUEST_TIMEOUT).await {
        Ok(identity) => identity,
        Err(error) => return Verdict::NoAnswer(error.to_string()),
    };
    match Verdict::of_other(identity) {
        Ok(other) => other,
        Err(kind) => described(url, key, kind).await,
    }
}

/// What an engine says of itself.
async fn described(url: &HttpUrl, key: Option<&EngineKey>, kind: KnownEngine) -> Verdict {
    let engine = EngineAt {
        kind: &EngineKind::from(kind),
        url,
        key,
    };
    match probe(engine, ProbeScope::ALL, REQUEST_TIMEOUT).await {
        Ok(outcome) if outcome.ready => {
            let (models, _) = usable_models(outcome.models.unwrap_or_default());
            let version = outcome.engine_version.map(|text| Text::cut(text.trim()));
            Verdict::Engine(Engine {
                kind,
                version: version.filter(|text| !text.is_empty()),
                slots: outcome.slots.filter(|slots| *slots > 0),
                models,
            })
        }
        Ok(outcome) => Verdict::NotReady(kind, outcome.reason.unwrap_or_default()),
        Err(error) => Verdict::NotReady(kind, error.to_string()),
    }
}

/// As [`discover`], for a program without an async runtime.
///
/// # Errors
/// When the system gives no sockets or timers.
pub fn discover_blocking(search: &Search) -> io::Result<Vec<Found>> {
    Ok(runtime()?.block_on(discover(search)))
}

/// As [`examine`], for a program without an async runtime. Several sockets at one address are
/// found as well.
///
/// # Errors
/// When the system gives no sockets or timers.
pub fn examine_blocking(url: &HttpUrl, key: Option<&EngineKey>) -> io::Result<Verdict> {
    let shared = sockets_at(url);
    if shared > 1 {
        return Ok(Verdict::Shared(shared));
    }
    Ok(runtime()?.block_on(examine(url, key)))
}

/// How many sockets listen where `url` leads.
fn sockets_at(url: &HttpUrl) -> usize {
    let port = url.port();
    let bridges = own_machine::bridge_addresses();
    let all = candidates(&listeners(), &bridges, &[port], &[]);
    let at = |candidate: &&Candidate| {
        candidate.port == port
            && candidate.hosts.iter().any(|host| {
                let there = HttpUrl::new(&format!("http://{}", SocketAddr::new(*host, port)));
                there.is_ok_and(|there| crate::is_same_listener(&there, url))
            })
    };
    let found = all.iter().filter(at);
    // A name leads to either of two addresses that have a listener each.
    if url.host().eq_ignore_ascii_case("localhost") {
        found.map(|candidate| candidate.sockets).sum()
    } else {
        found.map(|candidate| candidate.sockets).max().unwrap_or(0)
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Whether what was found is an engine of another kind than `kind`.
pub(crate) fn is_other_kind(kind: KnownEngine, found: &Verdict) -> bool {
    let shown = found.kind();
    let is_generic = |kind| kind == KnownEngine::OpenAi;
    shown.is_some_and(|shown| shown != kind && !is_generic(shown) && !is_generic(kind))
}
