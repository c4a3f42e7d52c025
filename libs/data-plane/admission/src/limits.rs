//! The limits of waiting, for the documents.

use pool_registry_types::limits::Limit;

use crate::{config::AdmissionConfig, core::estimate::MAX_RETRY_AFTER};

const DEFAULTS: AdmissionConfig = AdmissionConfig::DEFAULT;

/// All limits.
pub const LIMITS: &[Limit] = &[
    Limit::new(
        "AdmissionConfig::queue_limit",
        DEFAULTS.queue_limit as u64,
        "requests",
    )
    .because("Waiting requests of each priority for one model; a setting.")
    .enforced_by("/v1, /v2/tasks")
    .beyond("429 QUEUE_FULL"),
    Limit::time("AdmissionConfig::max_wait", DEFAULTS.max_wait)
        .because("The wait for a slot; a setting.")
        .enforced_by("/v1")
        .beyond("429 QUEUE_FULL"),
    Limit::time("MAX_RETRY_AFTER", MAX_RETRY_AFTER)
        .because("The longest `Retry-After`; a longer estimate is a guess.")
        .enforced_by("/v1")
        .beyond("the estimate is cut"),
];
