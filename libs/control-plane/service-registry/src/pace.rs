//! The interval of heartbeats and the timeout of nodes. Both grow with the fleet.

use std::time::Duration;

use crate::Config;

/// Up to this many nodes the configured interval and timeout hold exactly.
pub const CONFIGURED_UP_TO: usize = 1000;

/// The most heartbeats per second that all nodes together send on average: less than a tenth of
/// what one processor core takes in. At the default interval of 10 s it is reached with 20 000
/// nodes.
pub const HEARTBEATS_PER_SECOND: u32 = 2000;

/// Intervals above the configured one are multiples of this, so that they rarely change while a
/// fleet grows node by node.
const STEP: Duration = Duration::from_secs(1);

/// The interval and timeout in the answers to nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The time until the next heartbeat.
    pub next_heartbeat: Duration,
    /// The silence after which a node is offline.
    pub timeout: Duration,
}

impl Pace {
    /// The pace of a fleet of `nodes` nodes.
    ///
    /// The interval is the configured one, or so long that [`HEARTBEATS_PER_SECOND`] is not
    /// exceeded. The timeout grows in proportion, so that as many reports may be lost.
    #[must_use]
    pub fn of(config: &Config, nodes: usize) -> Self {
        let configured = Self {
            next_heartbeat: config.next_heartbeat(),
            timeout: config.node_timeout(),
        };
        if nodes <= CONFIGURED_UP_TO {
            return configured;
        }
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        let needed = STEP.saturating_mul(nodes.div_ceil(HEARTBEATS_PER_SECOND));
        if needed <= configured.next_heartbeat {
            return configured;
        }
        Self {
            next_heartbeat: needed,
            timeout: stretched(configured.timeout, needed, configured.next_heartbeat),
        }
    }
}

/// `time` times `by / of`, in whole milliseconds, rounded up.
fn stretched(time: Duration, by: Duration, of: Duration) -> Duration {
    let millis = time
        .as_millis()
        .saturating_mul(by.as_millis())
        .div_ceil(of.as_millis().max(1));
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// The number of nodes that the pace is made for.
///
/// It grows at once, and shrinks when a quarter of the nodes is gone, so that nodes that come and
/// go do not change the pace of all others each time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PacedFor(usize);

impl PacedFor {
    pub(crate) fn nodes(self) -> usize {
        self.0
    }

    pub(crate) fn update(&mut self, nodes: usize) {
        let shrinks_at = self.0.saturating_sub(self.0 / 4);
        if nodes > self.0 || nodes < shrinks_at {
            self.0 = nodes;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(timeout: Duration, interval: Duration) -> Config {
        let config = Config::default().with_node_timeout(timeout).unwrap();
        config.with_heartbeat_interval(interval).unwrap()
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    // spec: LIVE-30
    #[test]
    fn the_documented_curve() {
        for (nodes, interval, timeout) in [
            (0, 10, 30),
            (1, 10, 30),
            (1000, 10, 30),
            (10_000, 10, 30),
            (20_000, 10, 30),
            (20_001, 11, 33),
            (50_000, 25, 75),
            (100_000, 50, 150),
            (131_072, 66, 198),
        ] {
            let pace = Pace::of(&Config::default(), nodes);
            assert_eq!(
                (pace.next_heartbeat, pace.timeout),
                (secs(interval), secs(timeout)),
                "{nodes}"
            );
        }
    }

    // spec: LIVE-30
    #[test]
    fn up_to_a_thousand_nodes_any_configured_pace_holds() {
        let config = config(Duration::from_millis(90), Duration::from_millis(20));
        let configured = Pace::of(&config, 0);
        assert_eq!(configured.next_heartbeat, Duration::from_millis(20));
        assert_eq!(Pace::of(&config, CONFIGURED_UP_TO), configured);
        let grown = Pace::of(&config, CONFIGURED_UP_TO + 1);
        assert_eq!(
            (grown.next_heartbeat, grown.timeout),
            (secs(1), Duration::from_millis(4500))
        );
    }

    // spec: LIVE-31
    #[test]
    fn nodes_that_come_and_go_do_not_change_the_pace() {
        let mut paced = PacedFor::default();
        let mut after = |nodes| {
            paced.update(nodes);
            paced.nodes()
        };
        assert_eq!(
            [0, 1, 40_000, 39_999, 30_000, 40_000].map(&mut after),
            [0, 1, 40_000, 40_000, 40_000, 40_000]
        );
        assert_eq!(
            [29_999, 30_000, 22_500, 22_499, 0].map(&mut after),
            [29_999, 30_000, 30_000, 22_499, 0]
        );
    }

    proptest! {
        // spec: LIVE-30
        #[test]
        fn the_rate_is_bounded_and_the_timeout_keeps_its_proportion(
            nodes in CONFIGURED_UP_TO..200_000, timeout in 1_u64..3_600_000,
                interval in 1_u64..3_600_000,
        ) {
            let config = config(Duration::from_millis(timeout), Duration::from_millis(interval));
            let (pace, configured) = (Pace::of(&config, nodes), Pace::of(&config, 0));
            prop_assert!(pace.next_heartbeat >= configured.next_heartbeat);
            prop_assert!(pace.timeout >= configured.timeout);
            prop_assert!(pace.timeout >= pace.next_heartbeat);
            let per_second = nodes as f64 / pace.next_heartbeat.as_secs_f64();
            let most = f64::from(HEARTBEATS_PER_SECOND);
            prop_assert!(nodes <= CONFIGURED_UP_TO || per_second <= most);
            let larger = Pace::of(&config, nodes + 1);
            prop_assert!(larger.next_heartbeat >= pace.next_heartbeat);
            prop_assert!(larger.timeout >= pace.timeout);
        }
    }
}
