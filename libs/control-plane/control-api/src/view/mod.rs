//! The JSON answers of the API.

mod catalog;
mod endpoints;
mod gpus;
mod nodes;
mod pools;

pub(crate) use catalog::Catalog;
pub use catalog::{CatalogAnswer, ModelAnswer};
pub use gpus::{GpuAnswer, GpusAnswer};
pub use nodes::{
    DrainAnswer, DrainBegunAnswer, NodeAnswer, NodePoolAnswer, NodesAnswer, RefusedNodeAnswer,
    ReplicaAnswer,
};
pub use pools::{PoolAnswer, PoolsAnswer, RefusedHandoffAnswer};
