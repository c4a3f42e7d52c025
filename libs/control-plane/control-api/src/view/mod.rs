//! The answers of the API, as they go over the wire.

mod catalog;
mod endpoints;
mod gpus;
mod nodes;
mod pools;

pub(crate) use catalog::Catalog;
pub use catalog::{CatalogAnswer, ModelAnswer};
pub use gpus::{GpuAnswer, GpusAnswer};
pub use nodes::{
    DrainAnswer, DrainBegunAnswer, NodeAnswer, NodePoolAnswer, NodesAnswer, ReplicaAnswer,
};
pub use pools::{PoolAnswer, PoolsAnswer};

use std::sync::Arc;

use routing_table::EndpointKey;
use serde::Serialize;

/// What the data path holds against an endpoint: it failed there, and sends it nothing for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuarantineView {
    /// What failed, for people.
    pub reason: String,
    /// When it is tried again, in milliseconds from now.
    pub retry_in_ms: u64,
}

/// Finds the quarantine of an endpoint, if it is in one.
pub type QuarantineLookup = dyn Fn(&EndpointKey) -> Option<QuarantineView> + Send + Sync;

/// Counts the requests that this control plane has running at an endpoint; `None` where nobody
/// knows.
pub type RunningLookup = dyn Fn(&EndpointKey) -> Option<u64> + Send + Sync;

/// Who is asked about endpoints: the data path, through whoever wires both.
#[derive(Clone)]
pub(crate) struct Lookups {
    pub(crate) quarantine: Arc<QuarantineLookup>,
    pub(crate) running: Arc<RunningLookup>,
}

impl Default for Lookups {
    /// Nobody knows anything.
    fn default() -> Self {
        Self {
            quarantine: Arc::new(|_| None),
            running: Arc::new(|_| None),
        }
    }
}
