//! The trait of stores.

use std::{fmt, sync::Arc};

use pool_registry_types::NodeId;

use crate::{error::StoreError, stored::StoredNode};

/// Keeps nodes and drains across restarts.
///
/// The methods block. Async code calls them on a thread that may block.
pub trait RegistryStore: fmt::Debug + Send + Sync + 'static {
    /// All nodes, sorted by id.
    ///
    /// # Errors
    /// When the store cannot be read or understood.
    fn load(&self) -> Result<Vec<StoredNode>, StoreError>;

    /// Makes all changes, or none of them.
    ///
    /// When it returns, the changes survive a kill. Making them again changes nothing.
    ///
    /// # Errors
    /// When the store cannot be written. It may have the changes or not; make them again.
    fn apply(&self, changes: &[Change]) -> Result<(), StoreError>;
}

/// A change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Stores a node, and replaces its record.
    Put(Arc<StoredNode>),
    /// Removes the record of a node.
    Remove(NodeId),
}
