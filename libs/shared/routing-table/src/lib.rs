//! An immutable view of which endpoint serves which model.
//!
//! It is the only hand-over from the control plane to the data plane: whoever knows the nodes builds a
//! [`RoutingTable`] and publishes it by `watch`; whoever routes requests reads it and never writes. Building
//! one sorts and indexes it, so that a request finds its candidates without looking at the rest.
//!
//! In the CLOUD profile an endpoint is a pool of a node, reached through the node's agent. In the HOME
//! profile it is an engine on this machine, reached directly. The data path does not care.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod labels;
mod summary;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use foldhash::fast::RandomState;
use pool_registry_types::{EngineKind, HttpUrl, NodeId, PoolId, ReplicaId};

pub use labels::Labels;
pub use summary::{State, Summary};

/// Names an endpoint across tables.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointKey {
    /// The node it is on.
    pub node: NodeId,
    /// The pool it belongs to.
    pub pool: PoolId,
    /// The engine, where endpoints are single engines.
    pub replica: Option<ReplicaId>,
}

impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.pool)?;
        self.replica
            .as_ref()
            .map_or(Ok(()), |replica| write!(f, "/{replica}"))
    }
}

/// What stands at the other end of an endpoint's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hop {
    /// A node's agent: it speaks our headers and may ask for our token.
    Node,
    /// An engine: it sees what the client sent, and never our token.
    Engine,
}

/// Whether an endpoint may be given a request, as far as the control plane knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// It takes requests.
    Ready,
    /// It takes requests, and starts its engine for the first one.
    Asleep,
    /// It takes no new ones; running ones finish.
    Draining,
    /// It cannot serve now; the reason is for people.
    NotReady(Arc<str>),
}

impl Availability {
    /// Whether it may be given a request.
    #[must_use]
    pub fn is_routable(&self) -> bool {
        matches!(self, Self::Ready | Self::Asleep)
    }
}

/// One place a request can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name.
    pub key: EndpointKey,
    /// Which life of the node this is; a new one means that all its connections and slots are gone.
    pub incarnation: u64,
    /// Where it listens; the request's path is appended.
    pub target: HttpUrl,
    /// Who listens there.
    pub hop: Hop,
    /// Whether it takes requests.
    pub availability: Availability,
    /// How many requests it serves at once.
    pub slots_total: u32,
    /// How many more it could take when it last reported.
    pub slots_free: u32,
    /// Rises with each report, so that a reader notices a new one with the same numbers.
    pub report: u64,
    /// Free memory of its devices in bytes; 0 when unknown.
    pub vram_free_bytes: u64,
    /// The models it serves; `None` while nobody has said.
    pub models: Option<Arc<[String]>>,
    /// Which engine it is.
    pub engine: Option<EngineKind>,
    /// The engine's version.
    pub engine_version: Option<Arc<str>>,
}

/// All endpoints and an index by model. Cheap to share, never changed.
#[derive(Debug, Clone, Default)]
pub struct RoutingTable {
    version: u64,
    endpoints: Box<[Endpoint]>,
    summaries: Box<[Summary]>,
    labels: Box<[Labels]>,
    by_model: HashMap<String, Box<[u32]>, RandomState>,
    unnamed: Box<[u32]>,
    /// Made when somebody asks.
    by_hash: OnceLock<Box<[(u64, u32)]>>,
}

impl RoutingTable {
    /// Sorts the endpoints by key and indexes them by model. `version` rises with each table of a process.
    ///
    /// Of several endpoints with the same key the last one stays.
    #[must_use]
    pub fn new(version: u64, mut endpoints: Vec<Endpoint>) -> Self {
        endpoints.reverse();
        endpoints.sort_by(|a, b| a.key.cmp(&b.key));
        endpoints.dedup_by(|later, first| later.key == first.key);
        let mut by_model: HashMap<String, Vec<u32>, RandomState> = HashMap::default();
        let mut unnamed = Vec::new();
        for (index, endpoint) in (0_u32..).zip(&endpoints) {
            match &endpoint.models {
                None => unnamed.push(index),
                Some(models) => {
                    for model in models.iter() {
                        let places = by_model.entry(model.clone()).or_default();
                        if places.last() != Some(&index) {
                            places.push(index);
                        }
                    }
                }
            }
        }
        Self {
            version,
            summaries: endpoints.iter().map(Summary::of).collect(),
            labels: endpoints
                .iter()
                .map(|endpoint| Labels::of(&endpoint.key))
                .collect(),
            endpoints: endpoints.into(),
            by_model: by_model
                .into_iter()
                .map(|(model, places)| (model, places.into()))
                .collect(),
            unnamed: unnamed.into(),
            by_hash: OnceLock::new(),
        }
    }

    /// The version it was built with.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All endpoints, sorted by key.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// What placement reads of them, in the same order.
    #[must_use]
    pub fn summaries(&self) -> &[Summary] {
        &self.summaries
    }

    /// Their names as the values of headers, in the same order.
    #[must_use]
    pub fn labels(&self) -> &[Labels] {
        &self.labels
    }

    /// The index of the endpoint with that [`Summary::hash`].
    #[must_use]
    pub fn by_hash(&self, hash: u64) -> Option<u32> {
        let by_hash = self.by_hash.get_or_init(|| {
            let hashes = self.summaries.iter().map(|summary| summary.hash);
            let mut by_hash: Box<[(u64, u32)]> = hashes.zip(0_u32..).collect();
            by_hash.sort_unstable();
            by_hash
        });
        let place = by_hash.binary_search_by_key(&hash, |(hash, _)| *hash).ok()?;
        by_hash.get(place).map(|(_, index)| *index)
    }

    /// The models somebody serves, in no order.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.by_model.keys().map(String::as_str)
    }

    /// Indices of the endpoints that may serve `model`, in key order.
    ///
    /// Those that name the model; when none does, those that name no models at all, because their engine has
    /// not told and may know it. Empty means that nobody can serve the model.
    #[must_use]
    pub fn candidates(&self, model: &str) -> &[u32] {
        self.by_model.get(model).unwrap_or(&self.unnamed)
    }

    /// Whether somebody names `model` as one it serves.
    #[must_use]
    pub fn names(&self, model: &str) -> bool {
        self.by_model.contains_key(model)
    }

    /// The one model of the table, when there is exactly one: what a request without `model` can only mean.
    #[must_use]
    pub fn only_model(&self) -> Option<&str> {
        if self.by_model.len() == 1 && self.unnamed.is_empty() {
            self.models().next()
        } else {
            None
        }
    }
}

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(node: &str, models: Option<&[&str]>) -> Endpoint {
        Endpoint {
            key: EndpointKey {
                node: NodeId::new(node).unwrap(),
                pool: PoolId::new("p").unwrap(),
                replica: None,
            },
            incarnation: 1,
            target: HttpUrl::new("http://localhost:1").unwrap(),
            hop: Hop::Node,
            availability: Availability::Ready,
            slots_total: 1,
            slots_free: 1,
            report: 1,
            vram_free_bytes: 0,
            models: models.map(|models| models.iter().map(|&m| m.to_owned()).collect()),
            engine: None,
            engine_version: None,
        }
    }

    fn names(table: &RoutingTable, model: &str) -> Vec<String> {
        table
            .candidates(model)
            .iter()
            .map(|&i| table.endpoints()[i as usize].key.node.to_string())
            .collect()
    }

    // spec: PLACE-6
    #[test]
    fn finds_those_that_name_the_model_in_key_order() {
        let table = RoutingTable::new(
            7,
            vec![
                endpoint("c", Some(&["x", "x", "y"])),
                endpoint("a", Some(&["x"])),
                endpoint("b", None),
            ],
        );
        assert_eq!(names(&table, "x"), ["a", "c"]);
        assert_eq!(names(&table, "y"), ["c"]);
        assert_eq!(names(&table, "unheard-of"), ["b"]);
        assert_eq!((table.version(), table.only_model()), (7, None));
        for (index, summary) in (0..).zip(table.summaries()) {
            assert_eq!(table.by_hash(summary.hash), Some(index));
        }
        assert_eq!(table.by_hash(0), None);
    }

    #[test]
    fn one_model_can_go_without_saying() {
        let table = RoutingTable::new(1, vec![endpoint("a", Some(&["x"])), endpoint("b", Some(&["x"]))]);
        assert_eq!(table.only_model(), Some("x"));
        assert_eq!(names(&table, "y"), Vec::<String>::new());
    }

    #[test]
    fn the_last_of_a_key_stays() {
        let newer = Endpoint {
            slots_total: 9,
            ..endpoint("a", None)
        };
        let table = RoutingTable::new(1, vec![endpoint("a", None), newer]);
        assert_eq!(table.endpoints().len(), 1);
        assert_eq!(table.endpoints()[0].slots_total, 9);
    }
}
