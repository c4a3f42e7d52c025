//! The table of every bound on waiting, for documents.

use pool_registry_types::limits::Limit;

use crate::{Config, core::MAX_RETRY_AFTER};

const DEFAULTS: Config = Config::DEFAULT;

/// All of them.
pub const LIMITS: &[Limit] = &[
    Limit::new(
        "Config::queue_limit",
        DEFAULTS.queue_limit as u64,
        "requests",
    )
    .because("Requests of each priority that wait for one model (`ORCHESTRATORD_QUEUE_LIMIT`).")
    .enforced_by("/v1, /v2/tasks")
    .beyond("429 QUEUE_FULL"),
    Limit::time("Config::max_wait", DEFAULTS.max_wait)
        .because("The wait for a slot (`ORCHESTRATORD_QUEUE_WAIT_MS`).")
        .enforced_by("/v1")
        .beyond("429 QUEUE_FULL"),
    Limit::time("MAX_RETRY_AFTER", MAX_RETRY_AFTER)
        .because("The longest `Retry-After`; an estimate beyond it is a guess.")
        .enforced_by("/v1")
        .beyond("the estimate is cut"),
];
