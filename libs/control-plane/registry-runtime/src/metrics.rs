//! Metrics of nodes and pools, read on each scrape.

use std::{fmt, time::Duration};

use pool_registry_types::NodeStatus;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use service_registry::{FleetSummary, NodeFilter, NodeView};
use telemetry::{gauge, gauges};

use crate::RegistryHandle;

/// The most nodes and the most pools with metrics of their own.
const MAX_LINES: usize = 1000;

/// The collector. Register it with
/// [`Registry::register_collector`](prometheus_client::registry::Registry::register_collector).
#[derive(Debug)]
pub struct NodesMetrics(RegistryHandle);

impl NodesMetrics {
    /// Metrics of the registry of `handle`.
    #[must_use]
    pub fn new(handle: RegistryHandle) -> Self {
        Self(handle)
    }
}

impl Collector for NodesMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let page = self.0.page(None, MAX_LINES, &NodeFilter::default());
        write(
            &mut encoder,
            self.0.summary(),
            &page.nodes,
            self.0.now(),
            self.0.pace().next_heartbeat,
        )
    }
}

fn write(
    encoder: &mut DescriptorEncoder<'_>,
    summary: FleetSummary,
    nodes: &[NodeView],
    now: Duration,
    interval: Duration,
) -> Result<(), fmt::Error> {
    let by_status = [
        NodeStatus::Online,
        NodeStatus::Draining,
        NodeStatus::Unreachable,
        NodeStatus::Offline,
    ]
    .map(|status| {
        (
            [("status", status.as_str())],
            number(summary.with_status(status)),
        )
    });
    gauges(
        encoder,
        "llorch_nodes",
        "Nodes that are known, by status",
        by_status,
    )?;
    let ages = |value: fn(Duration, Duration) -> Duration| {
        nodes.iter().map(move |node| {
            let age = now.saturating_sub(node.last_heard);
            (
                [("node", node.node_id.as_str())],
                value(age, interval).as_secs_f64(),
            )
        })
    };
    gauges(
        encoder,
        "llorch_node_heartbeat_age_seconds",
        "Since a node was last heard, in seconds",
        ages(|age, _| age),
    )?;
    gauges(
        encoder,
        "llorch_node_heartbeat_late_seconds",
        "By how much the next heartbeat of a node is late, in seconds; 0 when it is not",
        ages(Duration::saturating_sub),
    )?;
    let pools = || {
        let pools = nodes
            .iter()
            .flat_map(|node| node.pools.iter().map(move |pool| (node, pool)))
            // Nothing is wrong with a node that has no pools yet.
            .filter(|(_, pool)| !pool.status.placeholder);
        pools.take(MAX_LINES).map(|(node, pool)| {
            let labels = [
                ("node", node.node_id.as_str()),
                ("pool", pool.status.pool_id.as_str()),
            ];
            (labels, &pool.status)
        })
    };
    gauges(
        encoder,
        "llorch_pool_ready",
        "Whether a pool says that it takes requests: 1 or 0",
        pools().map(|(labels, pool)| (labels, f64::from(u8::from(pool.ready)))),
    )?;
    gauges(
        encoder,
        "llorch_pool_vram_free_bytes",
        "Free memory of a pool's devices as last reported, in bytes; 0 when unknown",
        pools().map(|(labels, pool)| (labels, bytes(pool.vram_free_bytes))),
    )?;
    gauge(
        encoder,
        "llorch_registry_pools",
        "Pools that nodes have reported",
        number(summary.pools),
    )?;
    gauge(
        encoder,
        "llorch_self_suspicion",
        "Whether most nodes fell silent together, so that the fault is taken to be here: 1 or 0",
        f64::from(u8::from(summary.self_suspicion)),
    )
}

fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

#[expect(clippy::cast_precision_loss, reason = "memory of less than 2^53 bytes")]
fn bytes(bytes: u64) -> f64 {
    bytes as f64
}
