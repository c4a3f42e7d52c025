//! Stores what the control plane keeps across restarts: nodes and drains.
//!
//! [`RegistryStore`] is the trait. [`FileStore`] keeps everything in one file, [`MemoryStore`] in
//! the process. Both pass one test suite (the feature `conformance`), and so must every other
//! store.
//!
//! A [`StoredNode`] is a [`PersistedNode`](service_registry::PersistedNode) with wall-clock times
//! in place of remaining times, because deadlines go on while no process runs.
//!
//! The store is written in the background and never read while a request is served. A crash loses
//! the last changes of nodes, which costs a probe or a heartbeat. Only a drain waits for the disk.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod file;
mod memory;
mod stored;

use std::{fmt, sync::Arc};

use pool_registry_types::NodeId;

pub use error::StoreError;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use file::fuzzing;
pub use file::{FILE_NAME, FileStore};
pub use memory::MemoryStore;
pub use stored::StoredNode;

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

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
