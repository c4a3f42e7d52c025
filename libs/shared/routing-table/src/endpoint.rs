//! What changes rarely of an endpoint: its name, where it is, and what it serves.

use std::{fmt, sync::Arc};

use http::HeaderValue;
use pool_registry_types::{HttpUrl, NodeId, PoolId, ReplicaId};
use xxhash_rust::xxh3::xxh3_64;

/// Names an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointKey {
    /// The node it is on.
    pub node: NodeId,
    /// The pool it belongs to.
    pub pool: PoolId,
    /// The replica; `None` where the pool as a whole is the endpoint.
    pub replica: Option<ReplicaId>,
}

impl EndpointKey {
    /// A hash of the name that is the same in every process; [`Endpoint::hash`] keeps it.
    #[must_use]
    pub fn stable_hash(&self) -> u64 {
        xxh3_64(self.to_string().as_bytes())
    }
}

impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.pool)?;
        self.replica
            .as_ref()
            .map_or(Ok(()), |replica| write!(f, "/{replica}"))
    }
}

/// One place a request can go. Shared, so that a request holds on to it without a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    key: EndpointKey,
    hash: u64,
    labels: Labels,
    incarnation: u64,
    generation: u64,
    target: Arc<HttpUrl>,
    models: Option<Arc<[String]>>,
}

impl Endpoint {
    /// `incarnation` is the start of the node's agent, `generation` that of the engine since then;
    /// 0 where they are not known. `target` is where the node forwards to the pool: the path of
    /// a request is appended. `models` is `None` while nobody has said what it serves.
    #[must_use]
    pub fn new(
        key: EndpointKey,
        incarnation: u64,
        generation: u64,
        target: Arc<HttpUrl>,
        models: Option<Arc<[String]>>,
    ) -> Self {
        Self {
            hash: key.stable_hash(),
            labels: Labels::of(&key),
            key,
            incarnation,
            generation,
            target,
            models,
        }
    }

    /// Its name.
    #[must_use]
    pub fn key(&self) -> &EndpointKey {
        &self.key
    }

    /// A hash of its name that is the same in every process, for affinity.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Its name as the values of headers.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Which start of the node's agent this is. A new one means that all its connections and slots
    /// are gone.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Which start of its engine this is, as the node counts them.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Where the node forwards to its pool.
    #[must_use]
    pub fn target(&self) -> &HttpUrl {
        &self.target
    }

    /// The models it serves; `None` while nobody has said.
    #[must_use]
    pub fn models(&self) -> Option<&Arc<[String]>> {
        self.models.as_ref()
    }
}

/// An endpoint's name as the values of headers, made once and not for each answer. Ids are header
/// values by their own rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// The node.
    pub node: HeaderValue,
    /// The pool.
    pub pool: HeaderValue,
    /// The replica, where the endpoint is one.
    pub replica: Option<HeaderValue>,
}

impl Labels {
    fn of(key: &EndpointKey) -> Self {
        let value = |id: &str| HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("-"));
        Self {
            node: value(key.node.as_str()),
            pool: value(key.pool.as_str()),
            replica: key.replica.as_ref().map(|replica| value(replica.as_str())),
        }
    }
}
