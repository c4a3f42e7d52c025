//! Errors of stores. Each message names the store and says what to do.

use std::error::Error;

use thiserror::Error;

/// Why a store could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It cannot be opened or created.
    #[error(
        "cannot open the registry's store {store}; check that its directory exists, can be \
         written and has space"
    )]
    Unusable {
        /// The path of the store.
        store: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another process uses it.
    #[error(
        "the registry's store {store} is in use by another process; stop that one, or give this \
         one another state directory"
    )]
    InUse {
        /// The path of the store.
        store: String,
    },
    /// The file is no store of the registry.
    #[error(
        "{store} is not a store of the registry: {reason}; move it away, or give this process \
         another state directory"
    )]
    Foreign {
        /// The path of the store.
        store: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is damaged.
    #[error(
        "the registry's store {store} is damaged: {reason}; move it away and start again: nodes \
         join again within a heartbeat, drains must be repeated"
    )]
    Damaged {
        /// The path of the store.
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
        /// The path of the store.
        store: String,
        /// Its schema.
        found: u64,
        /// The latest schema this version knows.
        known: u64,
    },
    /// It could be opened, but not read or written.
    #[error("cannot use the registry's store {store}; check its disk for space and errors")]
    Failed {
        /// The path of the store.
        store: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
}
