//! What the control plane remembers across restarts: which nodes there are, and what operators want
//! of them.
//!
//! [`RegistryStore`] is the trait; [`FileStore`] keeps everything in one file, [`MemoryStore`]
//! nothing longer than the process. Both pass one suite (`conformance`, with the feature of that
//! name), and so must any other.
//!
//! What is kept is [`StoredNode`]: what [`service_registry::Registry::known_node`] says, with times
//! of the calendar in place of times that are left, because those go on while nobody runs.
//!
//! A store is written behind the registry's back and never asked while a request is served: losing
//! the last moment before a crash costs a probe or a heartbeat, waiting for a disk would cost every
//! request.

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

/// What the control plane remembers across restarts.
///
/// The methods block: an asynchronous caller runs them where blocking is allowed.
pub trait RegistryStore: fmt::Debug + Send + Sync + 'static {
    /// Everything that is kept, sorted by node.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what is not understood.
    fn load(&self) -> Result<Vec<StoredNode>, StoreError>;

    /// Makes all changes, or none of them.
    ///
    /// When it returns they are kept, even if the process is killed right after. Making the same
    /// changes again changes nothing.
    ///
    /// # Errors
    /// When the store cannot be written. Then the changes are kept or not; making them again
    /// settles it.
    fn apply(&self, changes: &[Change]) -> Result<(), StoreError>;
}

/// A change of what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Keep this node, in place of what was kept of it.
    Put(Arc<StoredNode>),
    /// Keep nothing of the node.
    Remove(NodeId),
}

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
