//! Stores what the control plane keeps across restarts: nodes, drains, and the keys of clients.
//!
//! [`RegistryStore`], [`KeyStore`] and [`JoinStore`] are the traits, and [`StateStore`] is all of
//! them. [`FileStore`] keeps everything in one file, [`MemoryStore`] in the process. Both pass one
//! test suite (the feature `conformance`), and so must every other store.
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
mod store;
mod stored;

pub use error::StoreError;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use file::fuzzing;
pub use file::{FILE_NAME, FileStore};
pub use memory::MemoryStore;
pub use store::{Change, JoinStore, KeyStore, RegistryStore, StateStore, StoredState};
pub use stored::StoredNode;

/// What the README shows is compiled with the tests, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
