//! The table of limits for documents.

use pool_registry_types::limits::Limit;

use crate::{
    candidates::MAX_CANDIDATES,
    sockets::{MAX_LISTENERS, MAX_SOCKET_TABLE_BYTES},
    store::MAX_FILES,
};

/// All limits of this crate.
pub const LIMITS: &[Limit] = &[
    Limit::new("MAX_SOCKET_TABLE_BYTES", MAX_SOCKET_TABLE_BYTES, "bytes")
        .because("A table of sockets in `/proc/net`; listening ones come first.")
        .enforced_by("engine-discovery")
        .beyond("the rest is not read"),
    Limit::new("MAX_LISTENERS", MAX_LISTENERS as u64, "sockets")
        .because("Listening sockets of a machine that are looked at.")
        .enforced_by("engine-discovery")
        .beyond("the rest is left out"),
    Limit::new("MAX_CANDIDATES", MAX_CANDIDATES as u64, "ports")
        .because("Ports that one search asks; named ones come first.")
        .enforced_by("engine-discovery")
        .beyond("the rest is not asked"),
    Limit::new("MAX_FILES", MAX_FILES as u64, "files")
        .because("Persistent handoffs that `llorch engine` lists.")
        .enforced_by("engine-discovery")
        .beyond("the rest is left out"),
];
