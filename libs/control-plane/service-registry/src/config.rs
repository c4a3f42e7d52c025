//! Configuration, and the constants of the registry with their reasons.

use std::time::Duration;

use thiserror::Error;

/// How long an offline node is kept. A machine that is repaired within a day keeps its drains.
pub const FORGET_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Probes that must fail in a row before a node is unreachable. One probe may fail by chance.
pub const PROBES_TO_UNREACHABLE: u32 = 2;

/// The longest time that [`Registry::next_deadline`](crate::Registry::next_deadline) allows between
/// two ticks while a node is alive. A longer gap means that this process did not run.
pub const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// A gap above this between two ticks is a stall of this process: far above the delays of a busy
/// scheduler, far below a timeout.
pub const STALL_THRESHOLD: Duration = Duration::from_secs(5);

/// The fewest nodes for self-suspicion. With fewer, one node would be half of the fleet.
pub const MIN_FLEET: usize = 3;

/// The window of a common loss, in intervals. Nodes report at different times, so a fault that hits
/// all shows over one interval and its jitter; half an interval is added for safety.
pub(crate) const WINDOW: f64 = 1.5;

/// The longest time of self-suspicion. A dead node that stays routable costs a failed connection; a
/// living fleet that is dropped costs the whole service. After ten minutes operators have seen the
/// alert, and the nodes are more likely gone.
pub const SUSPICION_MAX: Duration = Duration::from_secs(10 * 60);

/// The timeout and the heartbeat interval. Both are more than zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    node_timeout: Duration,
    heartbeat_interval: Duration,
}

/// Why a [`Config`] cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The timeout is zero.
    #[error("the node timeout must be more than zero")]
    ZeroTimeout,
    /// The interval is zero.
    #[error("the heartbeat interval must be more than zero")]
    ZeroInterval,
}

impl Default for Config {
    /// A timeout of 30 s, and a heartbeat every 10 s: two heartbeats may be lost.
    fn default() -> Self {
        Self {
            node_timeout: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// This configuration with another timeout.
    ///
    /// # Errors
    /// When the timeout is zero.
    pub fn with_node_timeout(self, node_timeout: Duration) -> Result<Self, ConfigError> {
        if node_timeout.is_zero() {
            return Err(ConfigError::ZeroTimeout);
        }
        Ok(Self {
            node_timeout,
            ..self
        })
    }

    /// This configuration with another heartbeat interval.
    ///
    /// # Errors
    /// When the interval is zero.
    pub fn with_heartbeat_interval(self, interval: Duration) -> Result<Self, ConfigError> {
        if interval.is_zero() {
            return Err(ConfigError::ZeroInterval);
        }
        Ok(Self {
            heartbeat_interval: interval,
            ..self
        })
    }

    /// The silence after which a node of a small fleet is offline.
    #[must_use]
    pub fn node_timeout(&self) -> Duration {
        self.node_timeout
    }

    /// The configured interval of heartbeats.
    #[must_use]
    pub fn heartbeat_interval(&self) -> Duration {
        self.heartbeat_interval
    }

    /// The interval of heartbeats in a small fleet: the configured one, or a third of the timeout,
    /// so that two heartbeats may be lost. [`Pace`](crate::Pace) has the interval of larger fleets.
    #[must_use]
    pub fn next_heartbeat(&self) -> Duration {
        self.heartbeat_interval.min(self.node_timeout / 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_or_an_interval_of_zero_cannot_be_built() {
        let config = Config::default();
        let zero = Duration::ZERO;
        let timeout = config.clone().with_node_timeout(zero);
        assert_eq!(timeout, Err(ConfigError::ZeroTimeout));
        let interval = config.with_heartbeat_interval(zero);
        assert_eq!(interval, Err(ConfigError::ZeroInterval));
    }
}
