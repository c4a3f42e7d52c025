//! Why a store could not be used. Each message names the store and says what to do.

use std::error::Error;

use thiserror::Error;

/// Why a store could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It cannot be opened or made.
    #[error(
        "cannot open the registry's store {store}; check that its directory exists, can be \
         written and has space"
    )]
    Unusable {
        /// Which store: a path.
        store: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another process has it.
    #[error(
        "the registry's store {store} is in use by another process; stop that one, or give this \
         one another state directory"
    )]
    InUse {
        /// Which store.
        store: String,
    },
    /// It is something else than a store of ours.
    #[error(
        "{store} is not a store of the registry: {reason}; move it away, or give this process \
         another state directory"
    )]
    Foreign {
        /// Which store.
        store: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It was ours and is broken.
    #[error(
        "the registry's store {store} is damaged: {reason}; move it away and start again: nodes \
         join again by themselves within a heartbeat, drains have to be asked for again"
    )]
    Damaged {
        /// Which store.
        store: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A later version wrote it.
    #[error(
        "the registry's store {store} has schema {found}, and this version knows none above \
         {known}; run the version that wrote it, or move the file away"
    )]
    Newer {
        /// Which store.
        store: String,
        /// Its schema.
        found: u64,
        /// The latest schema this version knows.
        known: u64,
    },
    /// It could be opened, but not read or written.
    #[error("cannot use the registry's store {store}; check its disk for space and errors")]
    Failed {
        /// Which store.
        store: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}
