//! Metrics of slots, queues and circuit breakers. Each scrape reads them from a snapshot, so
//! nothing is counted twice.

// Peers choose the numbers here: a sum or a product of them must not panic.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::{collections::BTreeMap, fmt};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use telemetry::{counter, gauges};

use crate::{admission::Admission, core::view::QueueDepth};

/// The largest number of pools, and of models, with lines of their own on the page.
const MAX_LINES: usize = 2000;

/// Register it with
/// [`Registry::register_collector`](prometheus_client::registry::Registry::register_collector).
#[derive(Debug)]
pub struct AdmissionMetrics {
    admission: Admission,
}

/// The endpoints of one pool together.
#[derive(Debug, Default, Clone, Copy)]
struct Pool {
    slots: u32,
    used: u32,
    open_breakers: u32,
}

impl AdmissionMetrics {
    /// Creates a collector for `admission`.
    #[must_use]
    pub fn new(admission: Admission) -> Self {
        Self { admission }
    }
}

impl Collector for AdmissionMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let snapshot = self.admission.snapshot();
        let models = self.admission.models();
        let mut pools: BTreeMap<(&str, &str), Pool> = BTreeMap::new();
        for endpoint in &snapshot.endpoints {
            let pool = pools
                .entry((endpoint.key.node.as_str(), endpoint.key.pool.as_str()))
                .or_default();
            let used = endpoint.in_flight.saturating_add(endpoint.used_by_others);
            pool.slots = pool.slots.saturating_add(endpoint.slots_total);
            pool.used = pool.used.saturating_add(used.min(endpoint.slots_total));
            let is_open = endpoint.open_breaker.is_some();
            pool.open_breakers = pool.open_breakers.saturating_add(is_open.into());
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
            "Endpoints of a pool whose circuit breaker is open",
            each(|pool| pool.open_breakers),
        )?;
        let names = models.iter().map(|summary| summary.model.as_str());
        let mut queues: BTreeMap<&str, QueueDepth> =
            names.map(|name| (name, QueueDepth::default())).collect();
        let mut others = QueueDepth::default();
        for (model, depth) in &snapshot.waiting {
            // A name that only a client knows must not become a label.
            let queue = queues.get_mut(model.as_str()).unwrap_or(&mut others);
            queue.interactive = queue.interactive.saturating_add(depth.interactive);
            queue.batch = queue.batch.saturating_add(depth.batch);
        }
        let others = (others != QueueDepth::default()).then_some((&"other", &others));
        let queues = queues.iter().take(MAX_LINES).chain(others);
        let depths = queues.flat_map(|(model, depth)| {
            [("interactive", depth.interactive), ("batch", depth.batch)].map(|(priority, count)| {
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                (
                    [("model", *model), ("priority", priority)],
                    f64::from(count),
                )
            })
        });
        gauges(
            &mut encoder,
            "llorch_queue_depth",
            "Requests that wait for a slot",
            depths,
        )?;
        counter(
            &mut encoder,
            "llorch_queue_displaced",
            "Waiting requests that made room for one of a key with fewer of them",
            self.admission.displaced(),
        )?;
        counter(
            &mut encoder,
            "llorch_quarantines",
            "How often the circuit breaker of an endpoint has opened",
            self.admission.breakers_opened(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use routing_table::RouteSink as _;
    use telemetry::Metrics;
    use test_fixtures::TestEndpoint;

    use super::*;
    use crate::{
        AcquireRequest, AdmissionConfig, EndpointFailure, Flow, LeaseOutcome, Priority,
        RoutingPreference,
    };

    fn metrics_of(admission: &Admission) -> Metrics {
        let metrics = Metrics::new("test", "0");
        let collector = AdmissionMetrics::new(admission.clone());
        metrics.register(|registry| registry.register_collector(Box::new(collector)));
        metrics
    }

    // spec: SEE-10
    #[tokio::test(start_paused = true)]
    async fn slots_queues_and_breakers_are_on_the_page() {
        let admission = Admission::new(AdmissionConfig::default());
        admission.apply(&[
            TestEndpoint::of_replica("n", "r0", 2).set(),
            TestEndpoint::of_replica("n", "r1", 2).set(),
        ]);
        let metrics = metrics_of(&admission);
        let preference = Arc::new(RoutingPreference::default());
        let request = || AcquireRequest {
            model: "m",
            priority: Priority::Interactive,
            preference: &preference,
            tried: &[],
            ticket: None,
            flow: Flow::default(),
        };
        let (first, _second) = (
            admission.acquire(request(), None).await.unwrap(),
            admission.acquire(request(), None).await.unwrap(),
        );
        first.ended(LeaseOutcome::Failed(EndpointFailure::Unreachable));
        drop(first);
        let page = metrics.render();
        for line in [
            r#"llorch_slots{node="n",pool="pool-0"} 4.0"#,
            r#"llorch_slots_free{node="n",pool="pool-0"} 3.0"#,
            r#"llorch_quarantined_endpoints{node="n",pool="pool-0"} 1.0"#,
            r#"llorch_queue_depth{model="m",priority="interactive"} 0.0"#,
            "llorch_quarantines_total 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in {page}");
        }
    }

    // spec: ADM-34
    #[test]
    fn the_page_of_a_large_fleet_is_bounded() {
        let admission = Admission::new(AdmissionConfig::default());
        let nodes = (0..MAX_LINES + 10)
            .map(|number| TestEndpoint::of_replica(&format!("n{number}"), "r0", 2).set());
        admission.apply(&nodes.collect::<Vec<_>>());
        let page = metrics_of(&admission).render();
        let lines = page
            .lines()
            .filter(|line| line.starts_with("llorch_slots{"));
        assert_eq!(lines.count(), MAX_LINES);
    }
}
