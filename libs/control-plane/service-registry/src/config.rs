//! How long things may take, and why that long.

use std::time::Duration;

/// How long an offline node is remembered: a machine that comes back from a day's repair keeps its
/// history.
pub const FORGET_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Probes that must fail in a row before a node counts as unreachable: one may be lost to chance.
pub const PROBES_TO_UNREACHABLE: u32 = 2;

/// How often [`Registry::next_deadline`](crate::Registry::next_deadline) asks to be called at the
/// latest while a node is alive, so that a gap between two calls means that this process did not
/// run.
pub const PULSE: Duration = Duration::from_secs(1);

/// A longer gap between two calls is a stall of this process: well above a busy scheduler, well
/// below a timeout.
pub const STALL: Duration = Duration::from_secs(5);

/// Fewer nodes than this never make the registry suspect itself: one of two is not a majority of
/// anything.
pub const MIN_FLEET: usize = 3;

/// Nodes report at different moments, so a fault that strikes all at once shows over one interval
/// and its jitter; half an interval more is slack.
pub(crate) const WINDOW: f64 = 1.5;

/// How long silent nodes stay routable at most while the registry suspects itself. Holding a dead
/// node costs a refused connection now and then; dropping a living fleet costs everything; but
/// after ten minutes an operator has heard the alarm and the nodes are more likely gone.
pub const SUSPICION_MAX: Duration = Duration::from_secs(10 * 60);

/// What an operator sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// A node that has been silent for this long is offline.
    pub node_timeout: Duration,
    /// How often nodes are asked to report.
    pub heartbeat_interval: Duration,
}

impl Default for Config {
    /// 30 s of silence, a report every 10 s: two reports may be lost.
    fn default() -> Self {
        Self {
            node_timeout: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// How often nodes of a small fleet should report: as configured, but often enough that two
    /// reports may be lost. See [`Pace`](crate::Pace) for larger ones.
    #[must_use]
    pub fn next_heartbeat(&self) -> Duration {
        self.heartbeat_interval.min(self.node_timeout / 3)
    }
}
