//! The bounds of what is counted, for documents.

use pool_registry_types::limits::Limit;

/// The most models of one key and day that are counted apart.
pub const MAX_MODELS_A_DAY: usize = 200;

/// The most keys with metrics of their own.
pub(crate) const MAX_METRIC_KEYS: usize = 1000;

/// What is beyond the bounds.
pub(crate) const OTHER: &str = "other";

/// All limits.
pub const LIMITS: &[Limit] = &[
    Limit::new("MAX_MODELS_A_DAY", MAX_MODELS_A_DAY as u64, "models")
        .because("The models that one key uses in a day. Engines name models, so there are few.")
        .enforced_by("usage of keys")
        .beyond("the rest counts as the model `other`"),
    Limit::new("MAX_METRIC_KEYS", MAX_METRIC_KEYS as u64, "keys")
        .because("Each key has some time series.")
        .enforced_by("/metrics")
        .beyond("the rest counts as the key `other`"),
];
