//! How many requests may wait, and for how long.

use std::time::Duration;

/// Limits of the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionConfig {
    /// The largest number of waiting requests of each priority for one model.
    pub queue_limit: usize,
    /// The longest time that a request waits for a slot, or for an endpoint that may return.
    pub max_wait: Duration,
    /// How long after the start requests for an unknown model wait instead of being refused: nodes
    /// of the previous control plane need a heartbeat to find this one.
    pub warm_up: Duration,
}

impl AdmissionConfig {
    /// The defaults.
    ///
    /// * 256 requests per model: a fleet with 32 slots serves them in eight rounds.
    /// * 5 s of waiting: most clients time out after 10 s or more.
    /// * No warm-up.
    pub const DEFAULT: Self = Self {
        queue_limit: 256,
        max_wait: Duration::from_secs(5),
        warm_up: Duration::ZERO,
    };
}

impl AdmissionConfig {
    /// When to try again after no endpoint could serve a request.
    pub(crate) fn retry_after_outage(&self) -> Duration {
        self.max_wait.max(Duration::from_secs(1))
    }
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}
