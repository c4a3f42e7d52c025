//! The table of limits for documents.

use pool_registry_types::limits::Limit;

use crate::{
    logs,
    pool_file::{
        MAX_FILE_BYTES,
        pool::{
            MAX_CONTEXT, MAX_MODELS_BYTES, MAX_QUEUE_TIMEOUT_SECS, MAX_REPLICAS, MAX_SECS,
            MAX_THREADS,
        },
    },
};

const REJECTED: &str = "the file is refused";

/// All limits of this crate.
pub const LIMITS: &[Limit] = &[
    Limit::new("MAX_FILE_BYTES", MAX_FILE_BYTES, "bytes")
        .because("A pool file.")
        .enforced_by("engine-provisioner")
        .beyond(REJECTED),
    Limit::new("MAX_SECS", MAX_SECS as u64, "s")
        .because("Every time in a pool file.")
        .enforced_by("engine-provisioner")
        .beyond(REJECTED),
    Limit::new("MAX_QUEUE_TIMEOUT_SECS", MAX_QUEUE_TIMEOUT_SECS as u64, "s")
        .because("The queue timeout of a pool, as in a heartbeat.")
        .enforced_by("engine-provisioner")
        .beyond(REJECTED),
    Limit::new("MAX_CONTEXT", MAX_CONTEXT as u64, "tokens")
        .because("The context of an engine in a pool file.")
        .enforced_by("engine-provisioner")
        .beyond(REJECTED),
    Limit::new("MAX_THREADS", MAX_THREADS as u64, "threads")
        .because("The threads of an engine in a pool file.")
        .enforced_by("engine-provisioner")
        .beyond(REJECTED),
    Limit::new("MAX_REPLICAS", MAX_REPLICAS as u64, "replicas")
        .because("The replicas of a pool in a pool file.")
        .enforced_by("engine-provisioner")
        .beyond(REJECTED),
    Limit::new("MAX_MODELS_BYTES", MAX_MODELS_BYTES as u64, "bytes")
        .because("The models of a pool, as JSON, which go into the handoffs of its engines.")
        .enforced_by("engine-provisioner")
        .beyond(REJECTED),
    Limit::new("MAX_BYTES", logs::MAX_BYTES, "bytes")
        .because("The log of a supervised engine.")
        .enforced_by("engine-provisioner")
        .beyond("the file is emptied"),
];
