//! The part of an endpoint that rarely changes: its name, its address and its models.

use std::{fmt, sync::Arc};

use http::HeaderValue;
use pool_registry_types::{HttpUrl, ModelName, NodeId, PoolId, ReplicaId, Text};
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
    /// A hash of the name that is equal in every process. [`Endpoint::hash`] caches it.
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

/// A destination for requests. It is shared behind an `Arc`, so a request keeps it without a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    key: EndpointKey,
    hash: u64,
    labels: HeaderLabels,
    incarnation: u64,
    generation: u64,
    target: Arc<HttpUrl>,
    models: Option<Arc<[ModelName]>>,
    context_length: Option<u32>,
    owned_by: Option<Text>,
}

impl Endpoint {
    /// Creates an endpoint.
    ///
    /// `incarnation` numbers the starts of the node's agent, and `generation` the starts of the
    /// engine since then; both are 0 when unknown. `target` is the URL at which the node forwards
    /// to the pool; the request's path is appended. `models` is `None` until the engine reports
    /// its models.
    #[must_use]
    pub fn new(
        key: EndpointKey,
        incarnation: u64,
        generation: u64,
        target: Arc<HttpUrl>,
        models: Option<Arc<[ModelName]>>,
    ) -> Self {
        Self {
            hash: key.stable_hash(),
            labels: HeaderLabels::new(&key),
            key,
            incarnation,
            generation,
            target,
            models,
            context_length: None,
            owned_by: None,
        }
    }

    /// The same with what the engine reports of its models.
    #[must_use]
    pub fn with_model_facts(self, context_length: Option<u32>, owned_by: Option<Text>) -> Self {
        Self {
            context_length,
            owned_by,
            ..self
        }
    }

    /// The most tokens of one request; `None` when unknown.
    #[must_use]
    pub fn context_length(&self) -> Option<u32> {
        self.context_length
    }

    /// Who owns its models, as the engine says.
    #[must_use]
    pub fn owned_by(&self) -> Option<&Text> {
        self.owned_by.as_ref()
    }

    /// Its name.
    #[must_use]
    pub fn key(&self) -> &EndpointKey {
        &self.key
    }

    /// A hash of its name that is equal in every process, for affinity.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Its name as header values.
    #[must_use]
    pub fn labels(&self) -> &HeaderLabels {
        &self.labels
    }

    /// The incarnation of the node's agent. A new incarnation has none of the old one's
    /// connections and slots.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The generation of its engine: the node counts the engine's starts.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The URL at which the node forwards to the pool.
    #[must_use]
    pub fn target(&self) -> &HttpUrl {
        &self.target
    }

    /// The models it serves; `None` until the engine reports them.
    #[must_use]
    pub fn models(&self) -> Option<&Arc<[ModelName]>> {
        self.models.as_ref()
    }
}

/// An endpoint's name as header values. They are built once, and not for each response. Ids are
/// valid header values by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderLabels {
    /// The node.
    pub node: HeaderValue,
    /// The pool.
    pub pool: HeaderValue,
    /// The replica, where the endpoint is one.
    pub replica: Option<HeaderValue>,
}

impl HeaderLabels {
    fn new(key: &EndpointKey) -> Self {
        let value = |id: &str| HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("-"));
        Self {
            node: value(key.node.as_str()),
            pool: value(key.pool.as_str()),
            replica: key.replica.as_ref().map(|replica| value(replica.as_str())),
        }
    }
}
