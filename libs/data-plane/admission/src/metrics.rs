//! Slots, lines and trust, as metrics: read from a snapshot when somebody asks, so that nothing is counted twice.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use routing_table::RoutingTable;
use telemetry::{counter, gauges};
use tokio::sync::watch;

use crate::{Admission, Waiting};

/// The most pools and the most models with lines of their own on the page.
const MAX_LINES: usize = 2000;

/// Register it with [`Registry::register_collector`](prometheus_client::registry::Registry::register_collector).
#[derive(Debug)]
pub struct AdmissionMetrics {
    admission: Admission,
    tables: watch::Receiver<Arc<RoutingTable>>,
}

/// The endpoints of one pool together.
#[derive(Debug, Default, Clone, Copy)]
struct Pool {
    slots: u32,
    used: u32,
    quarantined: u32,
}

impl AdmissionMetrics {
    /// Of `admission`, which follows `tables`.
    #[must_use]
    pub fn new(admission: Admission, tables: watch::Receiver<Arc<RoutingTable>>) -> Self {
        Self { admission, tables }
    }
}

impl Collector for AdmissionMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let snapshot = self.admission.snapshot();
        let table = self.tables.borrow().clone();
        let mut pools: BTreeMap<(&str, &str), Pool> = BTreeMap::new();
        for endpoint in &snapshot.endpoints {
            let pool = pools
                .entry((endpoint.key.node.as_str(), endpoint.key.pool.as_str()))
                .or_default();
            let used = endpoint.in_flight.saturating_add(endpoint.foreign);
            pool.slots = pool.slots.saturating_add(endpoint.slots_total);
            pool.used = pool.used.saturating_add(used.min(endpoint.slots_total));
            let is_quarantined = endpoint.quarantine.is_some();
            pool.quarantined = pool.quarantined.saturating_add(is_quarantined.into());
        }
        let each = |value: fn(&Pool) -> u32| {
            let labelled = pools.iter().take(MAX_LINES);
            labelled.map(move |((node, pool), counts)| {
                ([("node", *node), ("pool", *pool)], f64::from(value(counts)))
            })
        };
        gauges(
            &mut encoder,
            "llorch_slots",
            "Slots that a pool has",
            each(|pool| pool.slots),
        )?;
        gauges(
            &mut encoder,
            "llorch_slots_free",
            "Slots of a pool that no request holds, as far as is known here",
            each(|pool| pool.slots.saturating_sub(pool.used)),
        )?;
        gauges(
            &mut encoder,
            "llorch_quarantined_endpoints",
            "Endpoints of a pool that are in quarantine",
            each(|pool| pool.quarantined),
        )?;
        let mut lines: BTreeMap<&str, Waiting> =
            table.models().map(|model| (model, Waiting::default())).collect();
        for (model, waiting) in &snapshot.waiting {
            // What a client made up is no label.
            let name = if table.names(model) { model } else { "other" };
            let line = lines.entry(name).or_default();
            line.interactive = line.interactive.saturating_add(waiting.interactive);
            line.batch = line.batch.saturating_add(waiting.batch);
        }
        let depth = lines.iter().take(MAX_LINES).flat_map(|(model, waiting)| {
            [("interactive", waiting.interactive), ("batch", waiting.batch)].map(|(priority, count)| {
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                ([("model", *model), ("priority", priority)], f64::from(count))
            })
        });
        gauges(
            &mut encoder,
            "llorch_queue_depth",
            "Requests that wait for a slot",
            depth,
        )?;
        counter(
            &mut encoder,
            "llorch_quarantines",
            "How often an endpoint has lost its trust",
            self.admission.quarantines(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pool_registry_types::{HttpUrl, NodeId, PoolId};
    use routing_table::{Availability, Endpoint, EndpointKey, Hop};
    use telemetry::Metrics;

    use super::*;
    use crate::{Ask, Config, Failure, Outcome, Priority, Wish};

    fn table() -> Arc<RoutingTable> {
        let endpoint = Endpoint {
            key: EndpointKey {
                node: NodeId::new("n").unwrap(),
                pool: PoolId::new("p").unwrap(),
                replica: None,
            },
            incarnation: 1,
            target: HttpUrl::new("http://localhost:1").unwrap(),
            hop: Hop::Node,
            availability: Availability::Ready,
            slots_total: 4,
            slots_free: 4,
            report: 1,
            vram_free_bytes: 0,
            models: Some(["m".to_owned()].into()),
            engine: None,
            engine_version: None,
        };
        Arc::new(RoutingTable::new(1, vec![endpoint]))
    }

    // spec: SEE-10
    #[tokio::test(start_paused = true)]
    async fn slots_lines_and_trust_are_on_the_page() {
        let (_tables, seen) = watch::channel(table());
        let admission = Admission::new(Config::default());
        let following = admission.clone().run(seen.clone());
        let metrics = Metrics::new("test", "0");
        let collector = AdmissionMetrics::new(admission.clone(), seen);
        metrics.register(|registry| registry.register_collector(Box::new(collector)));
        let test = async {
            let wish = Arc::new(Wish::default());
            let ask = || Ask {
                model: "m",
                priority: Priority::Interactive,
                wish: &wish,
                tried: &[],
                ticket: None,
            };
            // The table is seen first.
            tokio::time::sleep(Duration::from_millis(1)).await;
            let (first, _second) = (
                admission.acquire(ask(), None).await.unwrap(),
                admission.acquire(ask(), None).await.unwrap(),
            );
            first.ended(Outcome::Failed(Failure::Unreachable));
            drop(first);
            let page = metrics.render();
            for line in [
                r#"llorch_slots{node="n",pool="p"} 4.0"#,
                r#"llorch_slots_free{node="n",pool="p"} 3.0"#,
                r#"llorch_quarantined_endpoints{node="n",pool="p"} 1.0"#,
                r#"llorch_queue_depth{model="m",priority="interactive"} 0.0"#,
                "llorch_quarantines_total 1",
            ] {
                assert!(page.lines().any(|found| found == line), "{line} in {page}");
            }
        };
        tokio::select! {
            () = following => {}
            () = test => {}
        }
    }
}
