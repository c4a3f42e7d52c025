//! What to measure.

use std::time::Duration;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Sizes of fleets; empty for all.
    pub fleets: Vec<u64>,
    /// How often each rate is measured.
    pub rounds: usize,
    /// Seconds that are measured for each rate.
    pub seconds: f64,
    /// How long a large fleet has to stay online.
    pub stay: Duration,
}
