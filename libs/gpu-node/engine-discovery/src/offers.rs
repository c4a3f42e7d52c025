//! What regular scans offer. No I/O, no clock.

use std::collections::BTreeMap;

use pool_registry_types::{Handoff, HttpUrl, KnownEngine, PoolId};

use crate::{
    candidates::Candidate,
    examine::{Found, is_other_kind},
    listener::is_same_listener,
    verdict::{Verdict, handoff_of},
};

/// The engines that scans have found, and what they have reported of other places.
#[derive(Debug, Default)]
pub struct Offers {
    /// The pool of all engines; without one, each is in a pool that is named like its kind.
    pool: Option<PoolId>,
    places: BTreeMap<String, Place>,
}

/// A place that has answered.
#[derive(Debug)]
struct Place {
    inode: Option<u64>,
    state: PlaceState,
}

#[derive(Debug)]
enum PlaceState {
    /// An engine that is offered, and its kind.
    Offered(Box<Handoff>, KnownEngine),
    /// An engine that is not offered, because its kind changed behind one socket.
    Distrusted,
    /// A handoff announces it.
    Announced,
    /// Anything else, and what was said of it.
    Other(String),
}

/// A change of what is offered. Each is worth one line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferChange {
    /// An engine to offer after its first good probe.
    Offer(Handoff),
    /// An engine that is not to be offered any more; why, for people.
    Withdraw(Handoff, String),
    /// What is at a named port, and is not offered.
    Report(HttpUrl, String),
}

impl Offers {
    /// Engines are offered in `pool`, or else in a pool that is named like their kind.
    #[must_use]
    pub fn new(pool: Option<PoolId>) -> Self {
        Self {
            pool,
            places: BTreeMap::new(),
        }
    }

    /// Whether a place is worth asking. A server that is no engine is asked once, unless its port
    /// is named, so that a scan does not fill its log.
    #[must_use]
    pub fn is_worth_asking(&self, candidate: &Candidate) -> bool {
        let known = self.places.values().any(|place| {
            matches!(place.state, PlaceState::Other(_))
                && place.inode.is_some()
                && place.inode == candidate.inode
        });
        candidate.is_named || !known
    }

    /// Applies a scan of `candidates`, of which those worth asking gave `found`. `announced` has
    /// the URLs of handoffs.
    pub fn apply(
        &mut self,
        candidates: &[Candidate],
        found: Vec<Found>,
        announced: &[HttpUrl],
    ) -> Vec<OfferChange> {
        let mut changes = self.forget_closed(candidates, &found);
        for found in found {
            changes.extend(self.apply_one(found, announced));
        }
        changes
    }

    /// Forgets places whose port is closed, or belongs to another socket now.
    fn forget_closed(&mut self, candidates: &[Candidate], found: &[Found]) -> Vec<OfferChange> {
        let mut changes = Vec::new();
        self.places.retain(|url, place| {
            let answered = found.iter().find(|found| found.url.to_string() == *url);
            let is_there = match answered {
                Some(found) => {
                    found.verdict != Verdict::Closed && found.candidate.inode == place.inode
                }
                // It was not asked again.
                None => {
                    let same = |candidate: &Candidate| candidate.inode == place.inode;
                    place.inode.is_some() && candidates.iter().any(same)
                }
            };
            if !is_there && let PlaceState::Offered(handoff, _) = &place.state {
                let why = "its port was closed".to_owned();
                changes.push(OfferChange::Withdraw((**handoff).clone(), why));
            }
            is_there
        });
        changes
    }

    fn apply_one(&mut self, found: Found, announced: &[HttpUrl]) -> Vec<OfferChange> {
        let Found {
            candidate,
            url,
            verdict,
        } = found;
        if verdict == Verdict::Closed {
            return Vec::new();
        }
        let before = self.places.remove(&url.to_string());
        let is_announced = announced.iter().any(|other| is_same_listener(other, &url));
        let (state, changes) = match before.map(|place| place.state) {
            // Another handoff takes precedence over an offer.
            Some(PlaceState::Offered(handoff, _)) if is_announced => {
                let why = "a handoff announces it".to_owned();
                let withdrawn = OfferChange::Withdraw(*handoff, why);
                (PlaceState::Announced, vec![withdrawn])
            }
            _ if is_announced => (PlaceState::Announced, Vec::new()),
            Some(PlaceState::Distrusted) => (PlaceState::Distrusted, Vec::new()),
            Some(PlaceState::Offered(handoff, kind)) => kept(handoff, kind, &verdict),
            Some(PlaceState::Other(said)) => {
                self.judged(&url, &verdict, candidate.is_named, Some(&said))
            }
            Some(PlaceState::Announced) | None => {
                self.judged(&url, &verdict, candidate.is_named, None)
            }
        };
        let place = Place {
            inode: candidate.inode,
            state,
        };
        self.places.insert(url.to_string(), place);
        changes
    }

    /// What a verdict makes of a place that offers nothing.
    fn judged(
        &self,
        url: &HttpUrl,
        verdict: &Verdict,
        is_named: bool,
        said: Option<&str>,
    ) -> (PlaceState, Vec<OfferChange>) {
        if let Verdict::Engine(engine) = verdict
            && let Some(handoff) = handoff_of(engine, url, self.pool.as_ref())
        {
            let state = PlaceState::Offered(Box::new(handoff.clone()), engine.kind);
            return (state, vec![OfferChange::Offer(handoff)]);
        }
        let text = verdict.to_string();
        let is_new = said != Some(&text);
        let report = (is_named && is_new).then(|| OfferChange::Report(url.clone(), text.clone()));
        (PlaceState::Other(text), report.into_iter().collect())
    }

    /// How many engines are offered.
    #[must_use]
    pub fn offered(&self) -> usize {
        let places = self.places.values();
        places
            .filter(|place| matches!(place.state, PlaceState::Offered(..)))
            .count()
    }
}

/// What a verdict makes of a place that offers an engine. Its probes decide whether it is ready.
fn kept(
    handoff: Box<Handoff>,
    kind: KnownEngine,
    verdict: &Verdict,
) -> (PlaceState, Vec<OfferChange>) {
    match verdict {
        found if is_other_kind(kind, found) => {
            let why = format!(
                "it was an engine of the kind {}, and behind the same socket there is now {found}; \
                 it is offered again when it has been restarted",
                kind.name()
            );
            let withdrawn = OfferChange::Withdraw(*handoff, why);
            (PlaceState::Distrusted, vec![withdrawn])
        }
        Verdict::Shared(_) | Verdict::Ours(_) | Verdict::NotAnEngine(_) => {
            let text = verdict.to_string();
            let withdrawn = OfferChange::Withdraw(*handoff, format!("there is now {text}"));
            (PlaceState::Other(text), vec![withdrawn])
        }
        _ => (PlaceState::Offered(handoff, kind), Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Engine;

    fn place(port: u16, inode: u64) -> Candidate {
        Candidate {
            hosts: vec!["127.0.0.1".parse().unwrap()],
            port,
            is_named: port == 8000,
            inode: Some(inode),
            sockets: 1,
        }
    }

    fn url(port: u16) -> HttpUrl {
        HttpUrl::new(&format!("http://127.0.0.1:{port}")).unwrap()
    }

    fn engine(kind: KnownEngine) -> Verdict {
        Verdict::Engine(Engine {
            kind,
            version: None,
            slots: Some(2),
            models: Vec::new(),
        })
    }

    /// The changes of one scan, in words.
    fn scan(
        offers: &mut Offers,
        at: &[(Candidate, Verdict)],
        announced: &[HttpUrl],
    ) -> Vec<String> {
        let candidates: Vec<Candidate> = at.iter().map(|(place, _)| place.clone()).collect();
        let asked = at.iter().filter(|(place, _)| offers.is_worth_asking(place));
        let found = asked.map(|(candidate, verdict)| Found {
            url: url(candidate.port),
            candidate: candidate.clone(),
            verdict: verdict.clone(),
        });
        let found: Vec<Found> = found.collect();
        let changes = offers.apply(&candidates, found, announced);
        changes
            .into_iter()
            .map(|change| match change {
                OfferChange::Offer(handoff) => {
                    format!("+{}/{}", handoff.pool_id, handoff.replica_id)
                }
                OfferChange::Withdraw(handoff, why) => format!("-{}: {why}", handoff.pool_id),
                OfferChange::Report(url, text) => format!("{}: {text}", url.port()),
            })
            .collect()
    }

    // spec: FIND-15, FIND-16
    #[test]
    fn an_engine_is_offered_once_and_withdrawn_when_its_port_closes() {
        let mut offers = Offers::new(None);
        let here = [(place(8000, 1), engine(KnownEngine::Vllm))];
        assert_eq!(scan(&mut offers, &here, &[]), ["+vllm/8000"]);
        assert_eq!(scan(&mut offers, &here, &[]), [""; 0]);
        // Its probes decide whether it is ready.
        let slow = [(place(8000, 1), Verdict::NoAnswer("late".into()))];
        assert_eq!(scan(&mut offers, &slow, &[]), [""; 0]);
        assert_eq!(offers.offered(), 1);
        let closed = [(place(8000, 1), Verdict::Closed)];
        assert_eq!(
            scan(&mut offers, &closed, &[]),
            ["-vllm: its port was closed"]
        );
        assert_eq!(scan(&mut offers, &closed, &[]), [""; 0]);
        assert_eq!(scan(&mut offers, &here, &[]), ["+vllm/8000"]);
        assert_eq!(scan(&mut offers, &[], &[]), ["-vllm: its port was closed"]);
    }

    // spec: FIND-15
    #[test]
    fn a_restarted_engine_of_another_kind_is_another_offer() {
        let mut offers = Offers::new(Some(PoolId::new("chat").unwrap()));
        let here = [(place(8000, 1), engine(KnownEngine::Vllm))];
        assert_eq!(scan(&mut offers, &here, &[]), ["+chat/8000"]);
        let restarted = [(place(8000, 2), engine(KnownEngine::LlamaCpp))];
        assert_eq!(
            scan(&mut offers, &restarted, &[]),
            ["-chat: its port was closed", "+chat/8000"]
        );
    }

    // spec: FIND-4, FIND-6, FIND-16
    #[test]
    fn an_engine_that_changes_behind_its_socket_is_not_offered_any_more() {
        for (now, words) in [
            (
                engine(KnownEngine::LlamaCpp),
                "it was an engine of the kind vllm",
            ),
            (Verdict::Shared(2), "there is now 2 sockets share this port"),
            (
                Verdict::NotAnEngine("a web page (HTML)".into()),
                "there is now no engine",
            ),
            (Verdict::Ours("pool-managerd"), "there is now pool-managerd"),
        ] {
            let mut offers = Offers::new(None);
            let here = [(place(8000, 1), engine(KnownEngine::Vllm))];
            scan(&mut offers, &here, &[]);
            let other = [(place(8000, 1), now)];
            let changes = scan(&mut offers, &other, &[]);
            assert_eq!(changes.len(), 1, "{changes:?}");
            assert!(changes[0].contains(words), "{changes:?}");
            assert_eq!(
                (scan(&mut offers, &other, &[]), offers.offered()),
                (vec![], 0)
            );
        }
        // Not even when it changes back: two engines take turns.
        let mut offers = Offers::new(None);
        let here = [(place(8000, 1), engine(KnownEngine::Vllm))];
        scan(&mut offers, &here, &[]);
        scan(
            &mut offers,
            &[(place(8000, 1), engine(KnownEngine::Ollama))],
            &[],
        );
        assert_eq!(scan(&mut offers, &here, &[]), [""; 0]);
    }

    // spec: FIND-3, FIND-16
    #[test]
    fn what_is_no_engine_is_reported_once_and_others_are_left_alone() {
        let mut offers = Offers::new(None);
        let page = Verdict::NotAnEngine("a web page (HTML)".into());
        let at = [
            (place(8000, 1), page.clone()),
            (place(9000, 2), page.clone()),
        ];
        assert_eq!(
            scan(&mut offers, &at, &[]),
            ["8000: no engine: a web page (HTML)"]
        );
        assert_eq!(scan(&mut offers, &at, &[]), [""; 0]);
        assert!(!offers.is_worth_asking(&place(9000, 2)), "asked once");
        assert!(offers.is_worth_asking(&place(8000, 1)), "its port is named");
        assert!(offers.is_worth_asking(&place(9000, 3)), "another socket");
        let engine = [
            (place(8000, 1), engine(KnownEngine::Vllm)),
            (place(9000, 2), page),
        ];
        assert_eq!(scan(&mut offers, &engine, &[]), ["+vllm/8000"]);
    }

    // spec: FIND-9
    #[test]
    fn an_announced_engine_is_not_offered_a_second_time() {
        let mut offers = Offers::new(None);
        let here = [(place(8000, 1), engine(KnownEngine::Vllm))];
        let announced = [HttpUrl::new("http://localhost:8000").unwrap()];
        assert_eq!(scan(&mut offers, &here, &announced), [""; 0]);
        assert_eq!(scan(&mut offers, &here, &[]), ["+vllm/8000"]);
        let withdrawn = scan(&mut offers, &here, &announced);
        assert_eq!(withdrawn, ["-vllm: a handoff announces it"]);
    }
}
